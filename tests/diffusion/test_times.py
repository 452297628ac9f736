"""Time distributions are what they say; importance lowers the variance of the loss and leaves its mean."""

import math

import pytest
import torch

from unstir.diffusion import GridSchedule, Schedule
from unstir.diffusion.schedule import flow, linear, schedules, ve, vp
from unstir.diffusion.times import Importance, log_normal, time_distributions, uniform


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


# Importance


def seen(steps: int, repeats: int = 10) -> tuple[Importance, torch.Tensor]:
    """Return a distribution that has seen random losses ``repeats`` times at each level, and their expectation."""
    times = Importance(steps)
    typical = torch.linspace(3, 0.1, steps, dtype=torch.float64) ** 2
    t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    generator = torch.Generator().manual_seed(0)
    for _ in range(repeats):
        times.record(t, typical * torch.rand(steps, generator=generator, dtype=torch.float64))
    return times, typical / 2


def test_importance_is_uniform_until_every_level_has_ten_losses() -> None:
    times, _ = seen(50, repeats=9)
    u = torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for repeats in (1, 2):
        torch.testing.assert_close(times.probabilities, torch.full((50,), 1 / 50).double())
        torch.testing.assert_close(times(linear(50), u), uniform(linear(50), u))
        assert torch.equal(times.weight(times(linear(50), u)), torch.ones(1000).double())
        if repeats == 1:
            times.record(torch.arange(1, 50) / 50, torch.ones(49))
    times.record(torch.ones(1), torch.ones(1))
    assert times.probabilities.std() > 1e-3


def test_importance_follows_the_second_moment_of_the_last_ten_losses() -> None:
    times = Importance(3)
    for loss in range(13):  # the first three are forgotten
        times.record(torch.tensor([1, 2, 3]) / 3, torch.tensor([loss, 2.0 * loss, 5.0]))
    moments = torch.tensor([sum(i**2 for i in range(3, 13)) / 10] * 2 + [25.0]).double().sqrt()
    moments[1] *= 2
    expected = 0.999 * moments / moments.sum() + 0.001 / 3
    torch.testing.assert_close(times.probabilities, expected)
    assert times.counts.tolist() == [13, 13, 13]


def test_one_batch_may_see_a_level_many_times() -> None:
    times = Importance(2)
    times.record(torch.tensor([0.5] * 12 + [1.0] * 10), torch.arange(22.0))
    assert sorted(times.losses[0].tolist()) == [float(i) for i in range(2, 12)]
    assert sorted(times.losses[1].tolist()) == [float(i) for i in range(12, 22)]


def test_importance_draws_what_it_says_and_leaves_the_mean_loss() -> None:
    times, losses = seen(20)
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    t = times(linear(20), u)
    n = (t * 20).round().long()
    drawn = torch.bincount(n, minlength=21)[1:] / len(n)
    torch.testing.assert_close(drawn.double(), times.probabilities, rtol=0, atol=1e-5)
    weighted = times.weight(t) * losses[n - 1]
    assert weighted.mean().item() == pytest.approx(losses.mean().item(), rel=1e-3)
    assert times.weight(t).mean().item() == pytest.approx(1, rel=1e-3)
    exact = times.weight(torch.arange(1, 21) / 20) * times.probabilities
    torch.testing.assert_close(exact, torch.full((20,), 1 / 20).double())
    assert weighted.std() < 0.4 * losses.std()


def test_importance_never_leaves_the_grid() -> None:
    times, _ = seen(20)
    ends = times(linear(20), torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([0.05, 1.0]).double())
