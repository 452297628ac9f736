"""Time distributions are what they say; importance lowers the variance of the loss and leaves its mean."""

import math

import pytest
import torch

from unstir.diffusion import GridSchedule, Schedule
from unstir.diffusion.schedule import flow, schedules, ve, vp
from unstir.diffusion.times import log_normal, time_distributions, uniform


@pytest.mark.parametrize("name", ["linear", "ladder"])
@pytest.mark.parametrize("steps", [2, 7, 49, 1000])
def test_uniform_hits_every_level_equally_and_never_clean_data(name: str, steps: int) -> None:
    u = (torch.arange(steps * 8, dtype=torch.float64) + 0.5) / (steps * 8)
    schedule = schedules[name](steps)
    assert isinstance(schedule, GridSchedule)
    t = uniform(schedule, u)
    n = (t * steps).round().long()
    assert torch.equal(torch.bincount(n, minlength=steps + 1), torch.tensor([0] + [8] * steps))
    torch.testing.assert_close(schedule(t).log_snr, schedule.level(n).log_snr, rtol=1e-9, atol=1e-9)
    ends = uniform(schedule, torch.tensor([0.0, 1 - 2**-24]))
    torch.testing.assert_close(ends, torch.tensor([1 / steps, 1.0], dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("schedule", [vp(), ve(), flow()], ids=["vp", "ve", "flow"])
def test_uniform_covers_continuous_time_evenly(schedule: Schedule) -> None:
    t = uniform(schedule, torch.linspace(0, 1, 11, dtype=torch.float64))
    torch.testing.assert_close(t, torch.linspace(schedule.t_min, 1, 11, dtype=torch.float64))


def test_log_normal_has_its_mean_and_deviation() -> None:
    u = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    schedule = ve(1e-4, 1e4)  # wide enough that nothing is cut
    level = schedule(log_normal(schedule, u))
    log_ratio = (level.sigma / level.alpha).log()
    assert log_ratio.mean().item() == pytest.approx(-1.2, abs=1e-3)
    assert log_ratio.std().item() == pytest.approx(1.2, abs=2e-3)
    other = schedule(log_normal(schedule, torch.tensor([0.5, 0.8413447460685429]), mean=0.4, std=2.0))
    torch.testing.assert_close(other.sigma.log(), torch.tensor([0.4, 2.4]).double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("distribution", sorted(time_distributions))
@pytest.mark.parametrize("name", sorted(schedules))
def test_times_stay_on_the_noised_part_of_the_schedule(name: str, distribution: str) -> None:
    schedule = schedules[name]()
    u = torch.tensor([0.0, 1e-12, 1e-3, 0.5, 0.999, 1 - 2**-24, 1 - 2**-53], dtype=torch.float64)
    t = time_distributions[distribution](schedule, u)
    assert t.dtype == torch.float64 and bool((t[1:] >= t[:-1]).all())
    assert schedule.t_min <= t[0].item() and t[-1].item() <= 1
    if isinstance(schedule, GridSchedule):
        assert t[0].item() * schedule.steps >= 1 - 1e-9
    assert not math.isnan(t.sum().item())
