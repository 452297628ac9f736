"""Objectives agree with each other through the level alone; time distributions are what they say."""

import math

import pytest
import torch
from torch import Tensor, nn

from unstir.diffusion import Condition, Denoiser, GridSchedule, NoiseLevel, Schedule
from unstir.diffusion.objective import (
    SquaredError,
    karras,
    log_normal,
    min_snr,
    objectives,
    simple,
    time_distributions,
    uniform,
)
from unstir.diffusion.parameterization import Karras, parameterization
from unstir.diffusion.schedule import flow, ladder, linear, schedules, ve, vp


class Network(nn.Module):
    """A fixed function of the image and the time, each image on its own."""

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        return torch.tanh(1.7 * x.flip(-1) + t.reshape(-1, 1, 1, 1)) - 0.3


class Told(nn.Module):
    """Answers what it was told."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        return self.output


def normal(seed: int) -> Tensor:
    return torch.randn(6, 2, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def losses(objective: SquaredError, schedule: Schedule, level: NoiseLevel, name: str = "v") -> Tensor:
    denoiser = Denoiser(Network(), parameterization(name, schedule), schedule)
    return objective(denoiser, normal(0), level, normal(1), None)


TIMES = torch.tensor([0.01, 0.1, 0.3, 0.5, 0.8, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("name", ["eps", "x0", "v", "karras"])
@pytest.mark.parametrize("schedule", [linear(100), vp(), ve()], ids=["linear", "vp", "ve"])
def test_errors_in_two_spaces_differ_by_the_snr(schedule: Schedule, name: str) -> None:
    level = schedule(TIMES)
    of_x0 = losses(SquaredError("x0"), schedule, level, name)
    torch.testing.assert_close(losses(SquaredError("eps"), schedule, level, name), level.snr * of_x0)


def test_velocity_error_is_the_snr_plus_one_where_variance_is_preserved() -> None:
    level = vp()(TIMES)
    of_x0 = losses(SquaredError("x0"), vp(), level)
    torch.testing.assert_close(losses(SquaredError("v"), vp(), level), (level.snr + 1) * of_x0)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_cuts_the_weight_on_the_image(gamma: float) -> None:
    level = vp()(TIMES)
    assert level.snr[0] > gamma > level.snr[-1]
    of_x0 = losses(SquaredError("x0"), vp(), level)
    torch.testing.assert_close(losses(min_snr(gamma), vp(), level), level.snr.clamp(max=gamma) * of_x0)


@pytest.mark.parametrize("name", sorted(objectives))
def test_losses_and_gradients_are_finite_at_pure_noise(name: str) -> None:
    schedule = flow()
    meaning = parameterization("eps" if name in ("simple", "min_snr") else "v", schedule)
    output = normal(2).requires_grad_()
    loss = objectives[name]()(Denoiser(Told(output), meaning, schedule), normal(0), schedule(1.0), normal(1), None)
    loss.sum().backward()
    assert output.grad is not None
    assert bool(loss.isfinite().all()) and bool((loss > 0).all())
    assert bool(output.grad.isfinite().all()) and bool((output.grad != 0).any())


def test_min_snr_equals_simple_at_pure_noise() -> None:
    level = flow()(1.0)
    torch.testing.assert_close(losses(min_snr(), flow(), level), losses(simple(), flow(), level))


@pytest.mark.parametrize("sigma_data", [0.5, 0.9])
def test_karras_weight_undoes_the_output_scale(sigma_data: float) -> None:
    level = ve()(torch.linspace(0.05, 1, 6))
    c_out = level.sigma * sigma_data / (level.sigma**2 + sigma_data**2).sqrt()
    torch.testing.assert_close(karras(sigma_data).weight(level), 1 / c_out**2)
    # So the loss is the plain error of the network's own output.
    for schedule in (ve(), vp(), flow()):
        meaning, level = Karras(sigma_data), schedule(torch.linspace(0.05, 1, 6))
        loss = karras(sigma_data)(Denoiser(Told(normal(2)), meaning, schedule), normal(0), level, normal(1), None)
        error = normal(2) - meaning.target(normal(0), normal(1), level)
        torch.testing.assert_close(loss, (error**2).flatten(1).mean(1))


def test_simple_is_the_plain_error_of_the_noise() -> None:
    schedule = linear(10)
    level, eps = schedule.level(torch.tensor([1, 2, 4, 6, 8, 10])), normal(1)
    denoiser = Denoiser(Told(normal(2)), parameterization("eps", schedule), schedule)
    loss = simple()(denoiser, normal(0), level, eps, None)
    torch.testing.assert_close(loss, ((normal(2) - eps) ** 2).flatten(1).mean(1))
    true = Denoiser(Told(eps), parameterization("eps", schedule), schedule)
    assert torch.equal(simple()(true, normal(0), level, eps, None), torch.zeros(6).double())


@pytest.mark.parametrize("name", sorted(objectives))
def test_the_truth_costs_nothing(name: str) -> None:
    schedule = linear(100)
    level, meaning = schedule(TIMES), parameterization("v", schedule)
    denoiser = Denoiser(Told(meaning.target(normal(0), normal(1), level)), meaning, schedule)
    loss = objectives[name]()(denoiser, normal(0), level, normal(1), None)
    torch.testing.assert_close(loss, torch.zeros(6).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(objectives))
def test_an_images_loss_depends_on_that_image_only(name: str) -> None:
    schedule, objective = linear(100), objectives[name]()
    denoiser = Denoiser(Network(), parameterization("v", schedule), schedule)
    x0, eps, level = normal(0), normal(1), schedule(TIMES)
    together = objective(denoiser, x0, level, eps, None)
    assert together.shape == (6,)
    for i in range(6):
        alone = objective(denoiser, x0[i : i + 1], schedule(TIMES[i]), eps[i : i + 1], None)
        torch.testing.assert_close(together[i : i + 1], alone)


def test_the_condition_reaches_the_network() -> None:
    class Labelled(nn.Module):
        def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            assert condition.vector is not None
            return torch.zeros_like(x) + condition.vector.reshape(-1, 1, 1, 1)

    denoiser = Denoiser(Labelled(), parameterization("eps", vp()), vp())
    labels, zero = torch.arange(6), torch.zeros(6, 2, 3, 4).double()
    loss = simple()(denoiser, zero, vp()(TIMES), zero, Condition(vector=labels))
    torch.testing.assert_close(loss, labels.double() ** 2)


def test_simple_on_a_ladder_is_denoising_score_matching() -> None:
    """Song and Ermon 2019, equation 5 with lambda = sigma^2, for either kind of output."""
    schedule = ladder(6, 0.02, 8.0)
    level, x0, eps = schedule.level(torch.arange(1, 7)), normal(0), normal(1)
    sigma = level.sigma.reshape(-1, 1, 1, 1)
    noised = x0 + sigma * eps
    output = Network()(noised, level.t, None)
    for name, score in {"score": output, "eps": -output / sigma}.items():
        matching = 0.5 * (score + (noised - x0) / sigma**2).square().flatten(1).sum(1)
        denoiser = Denoiser(Network(), parameterization(name, schedule), schedule)
        loss = simple()(denoiser, x0, level, eps, None)
        torch.testing.assert_close(loss * x0[0].numel() / 2, level.sigma**2 * matching)


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
