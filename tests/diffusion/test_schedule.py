"""Schedules against diffusers, against numerical integration, and against their own inverses."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from unstir.diffusion import DiscreteSchedule
from unstir.diffusion.schedule import cosine, flow, ladder, linear, quadratic, schedules, sigmoid, single, ve, vp
from unstir.diffusion.times import time_distributions
from unstir.errors import InputError

PEERS = {
    "linear": "linear",
    "quadratic": "scaled_linear",
    "cosine": "squaredcos_cap_v2",
    "sigmoid": "sigmoid",
}
DISCRETE = sorted(PEERS)


@pytest.mark.parametrize("steps", [10, 50, 300, 1000])
@pytest.mark.parametrize("name", DISCRETE)
def test_equals_diffusers(name: str, steps: int) -> None:
    ours = schedules[name](steps)
    theirs = DDPMScheduler(steps, beta_schedule=PEERS[name])
    assert ours.betas.dtype == ours.alphas_cumprod.dtype == torch.float64
    torch.testing.assert_close(ours.betas, theirs.betas.double(), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(ours.alphas_cumprod, theirs.alphas_cumprod.double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("ends", [(1e-3, 0.05), (5e-4, 0.3)])
@pytest.mark.parametrize("name", ["linear", "quadratic", "sigmoid"])
def test_other_ends_equal_diffusers(name: str, ends: tuple[float, float]) -> None:
    theirs = DDPMScheduler(40, beta_schedule=PEERS[name], beta_start=ends[0], beta_end=ends[1])
    torch.testing.assert_close(schedules[name](40, *ends).betas, theirs.betas.double(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("steps", [4, 300])
def test_linear_keeps_its_ends_whatever_the_steps(steps: int) -> None:
    betas = linear(steps).betas
    assert betas[0].item() == pytest.approx(1e-4, rel=1e-12)
    assert betas[-1].item() == pytest.approx(0.02, rel=1e-12)


def test_cosine_is_the_papers_equation_17_where_no_beta_is_capped() -> None:
    schedule = cosine(200, s=0.02)
    for n in (1, 57, 199):
        f = [math.cos((t + 0.02) / 1.02 * math.pi / 2) ** 2 for t in (0, n / 200)]
        assert schedule.alphas_cumprod[n - 1].item() == pytest.approx(f[1] / f[0], rel=1e-10)
    assert cosine(200, max_beta=0.4).betas.max().item() == 0.4


@pytest.mark.parametrize("name", DISCRETE)
def test_alphas_and_sigmas_come_from_the_betas(name: str) -> None:
    schedule = schedules[name](30)
    alpha_bar = 1.0
    for n, beta in enumerate(schedule.betas.tolist(), start=1):
        alpha_bar *= 1 - beta
        level = schedule.level(n)
        assert level.alpha.item() == pytest.approx(alpha_bar**0.5, rel=1e-12)
        assert level.sigma.item() == pytest.approx((1 - alpha_bar) ** 0.5, rel=1e-12)
        assert level.t.item() == pytest.approx(n / 30, rel=1e-15)
        assert level.snr.item() == pytest.approx(alpha_bar / (1 - alpha_bar), rel=1e-9)
        assert level.log_snr.item() == pytest.approx(math.log(alpha_bar / (1 - alpha_bar)), abs=1e-9)


@pytest.mark.parametrize("steps", [7, 49, 1000])
@pytest.mark.parametrize("name", DISCRETE)
def test_a_grid_point_is_the_schedule_at_its_time(name: str, steps: int) -> None:
    schedule = schedules[name](steps)
    n = torch.arange(steps + 1)
    at_index = schedule.level(n)
    torch.testing.assert_close(at_index.t, n.double() / steps, rtol=0, atol=0)
    called = schedule(n.double() / steps)
    torch.testing.assert_close(called.alpha, at_index.alpha, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(called.sigma, at_index.sigma, rtol=1e-10, atol=1e-14)
    one = schedule.level(steps // 2)
    assert one.alpha.shape == () and one.alpha == at_index.alpha[steps // 2]


def test_between_grid_points_alpha_bar_is_interpolated_linearly() -> None:
    schedule = linear(10)
    quarter = schedule(3.25 / 10)
    expected = 0.75 * schedule.alphas_cumprod[2] + 0.25 * schedule.alphas_cumprod[3]
    torch.testing.assert_close(quarter.alpha**2, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(quarter.alpha**2 + quarter.sigma**2, torch.ones(()).double())


def test_vp_is_the_integral_of_its_beta() -> None:
    beta_min, beta_max = 0.3, 12.0
    fine = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    beta = beta_min + fine * (beta_max - beta_min)
    integral = torch.cat([torch.zeros(1).double(), torch.cumulative_trapezoid(beta, fine)])
    level = vp(beta_min, beta_max)(fine)
    torch.testing.assert_close(level.alpha, (-integral / 2).exp(), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(level.sigma, (1 - (-integral).exp()).sqrt(), rtol=1e-6, atol=1e-8)


def test_linear_converges_to_vp() -> None:
    def distance(steps: int) -> float:
        n = torch.arange(1, steps + 1)
        discrete = linear(steps, 0.1 / steps, 20 / steps).alphas_cumprod
        return float((discrete - vp()(n / steps).alpha ** 2).abs().max())

    assert distance(1000) < 0.01  # of the order of the largest beta, 0.02
    assert distance(1000) / distance(4000) == pytest.approx(4, rel=0.05)


def test_ve_is_a_geometric_ladder() -> None:
    schedule = ve(0.02, 80.0)
    level = schedule(torch.tensor([0.0, 1e-9, 0.25, 0.5, 1.0]))
    assert torch.equal(level.alpha, torch.ones(5).double())
    expected = torch.tensor([0.0, 0.02, 0.02 * 4000**0.25, (0.02 * 80) ** 0.5, 80.0], dtype=torch.float64)
    torch.testing.assert_close(level.sigma, expected, rtol=1e-6, atol=0)


def test_the_ladder_is_geometric_from_its_least_sigma_to_its_largest() -> None:
    # Song and Ermon 2019: ten sigmas from 1 to 0.01, whose ratio is 10^(2/9).
    schedule = ladder(10, 0.01, 1.0)
    level = schedule.level(torch.arange(11))
    expected = torch.tensor([0.0] + [0.01 * 10 ** (2 * i / 9) for i in range(10)], dtype=torch.float64)
    torch.testing.assert_close(level.sigma, expected, rtol=1e-12, atol=0)
    assert torch.equal(level.alpha, torch.ones(11).double())
    assert schedule.ratio == pytest.approx(10 ** (2 / 9)) and schedule.t_min == 0.1
    between = schedule(torch.tensor([0.05, 0.35, 1.0]))
    expected = torch.tensor([0.005, 0.01 * 10 ** (5 / 9), 1.0], dtype=torch.float64)
    torch.testing.assert_close(between.sigma, expected, rtol=1e-6, atol=0)


def test_a_ladder_of_one_level_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2, and not 1"):
        ladder(1)
    with pytest.raises(InputError, match="0 to 10"):
        ladder(10).level(11)


def test_flow_is_the_straight_line() -> None:
    level = flow()(torch.tensor([0.0, 0.25, 1.0]))
    assert level.alpha.tolist() == [1, 0.75, 0] and level.sigma.tolist() == [0, 0.25, 1]


def test_single_trains_at_one_level() -> None:
    schedule = single(0.7)
    for times in time_distributions.values():
        level = schedule(times(schedule, torch.rand(50, dtype=torch.float64)))
        assert torch.equal(level.t, torch.ones(50).double()) and torch.equal(level.alpha, level.t)
        assert torch.equal(level.sigma, torch.full((50,), 0.7, dtype=torch.float64))


@pytest.mark.parametrize("name", sorted(schedules))
def test_time_zero_is_clean_exactly(name: str) -> None:
    level = schedules[name]()(0.0)
    assert (level.t.item(), level.alpha.item(), level.sigma.item()) == (0, 1, 0)
    assert level.log_snr.item() == math.inf and level.snr.item() == math.inf


def test_flow_and_a_last_beta_of_one_end_in_pure_noise() -> None:
    zero_terminal = DiscreteSchedule(torch.tensor([0.1, 0.2, 1.0]))
    for level in (flow()(1.0), zero_terminal(1.0), zero_terminal.level(3)):
        assert (level.alpha.item(), level.sigma.item(), level.snr.item()) == (0, 1, 0)
        assert level.log_snr.item() == -math.inf
    assert zero_terminal.time(zero_terminal(1.0).log_snr).item() == 1


@pytest.mark.parametrize("name", sorted(schedules))
def test_log_snr_falls_and_time_inverts_it(name: str) -> None:
    schedule = schedules[name]()
    t = torch.linspace(0, 1, 3001, dtype=torch.float64)
    log_snr = schedule(t).log_snr
    assert bool((log_snr[1:] < log_snr[:-1]).all())
    torch.testing.assert_close(schedule.time(log_snr), t, rtol=0, atol=1e-9)
    one = schedule.time(log_snr[1234])
    assert one.shape == () and one.item() == pytest.approx(t[1234].item(), abs=1e-9)
    beyond = schedule.time(torch.tensor([math.inf, -math.inf]))
    assert beyond.tolist() == [0, 1]


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("steps", [1, 2, 37])
def test_time_inverts_short_schedules(name: str, steps: int) -> None:
    schedule = schedules[name](steps)
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(schedule.time(schedule(t).log_snr), t, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", sorted(schedules))
def test_the_smallest_time_is_noised(name: str) -> None:
    schedule = schedules[name]()
    assert 0 < schedule.t_min <= 1 and schedule(schedule.t_min).sigma > 0
    if isinstance(schedule, DiscreteSchedule):
        assert schedule.t_min == 1 / schedule.steps


@pytest.mark.parametrize(
    "betas", [[], [0.0, 0.1], [-0.1, 0.1], [0.1, 1.1], [math.nan, 0.1], [[0.1, 0.2]], [0.5, 1.0, 0.5]]
)
def test_impossible_betas_are_refused(betas: list) -> None:
    with pytest.raises(InputError, match="betas"):
        DiscreteSchedule(torch.tensor(betas))


NAN, INF = math.nan, math.inf
NO_RANGES = {
    "linear": [(10, 0.1, -0.1), (10, 0.1, 1.1), (10, -0.1, 0.1), (10, NAN, 0.1), (10, 0.1, NAN), (10, 0.1, INF)],
    "ladder": [(10, 5.0, 1.0), (10, 1.0, 1.0), (10, 0.0, 1.0), (10, -1.0, 1.0), (10, NAN, 1.0), (10, 0.1, INF)],
    "ve": [(50.0, 0.01), (1.0, 1.0), (0.0, 1.0), (-1.0, 1.0), (NAN, 1.0), (0.1, NAN), (0.1, INF)],
    "vp": [(-0.1, 20.0), (0.1, -20.0), (0.0, 0.0), (NAN, 20.0), (0.1, NAN), (INF, 20.0), (0.1, INF)],
    "cosine": [(10, -0.1), (10, NAN), (10, INF), (10, 0.008, 0.0), (10, 0.008, -1.0), (10, 0.008, NAN)],
    "single": [(0.0,), (-0.5,), (NAN,), (INF,)],
}
NO_RANGES |= {"quadratic": NO_RANGES["linear"], "sigmoid": NO_RANGES["linear"]}


@pytest.mark.parametrize(
    ("name", "values"), [(name, values) for name, rows in NO_RANGES.items() for values in rows], ids=str
)
def test_values_without_a_process_are_refused(name: str, values: tuple) -> None:
    with pytest.raises(InputError, match=r"above 0|at least 0"):
        schedules[name](*values)


def test_a_wrong_range_of_sigmas_is_told_with_its_values() -> None:
    for make in (lambda *ends: ladder(10, *ends), ve):
        with pytest.raises(InputError, match=r"sigma_min must be above 0 and below sigma_max.*they are 10 and 5"):
            make(10.0, 5.0)


@pytest.mark.parametrize("name", ["linear", "quadratic", "sigmoid"])
def test_betas_may_fall(name: str) -> None:
    rising, falling = schedules[name](50, 1e-3, 0.2), schedules[name](50, 0.2, 1e-3)
    torch.testing.assert_close(falling.betas, rising.betas.flip(0), rtol=1e-9, atol=0)
    torch.testing.assert_close(falling.alphas_cumprod[-1], rising.alphas_cumprod[-1], rtol=1e-9, atol=0)
    assert bool((falling.alphas_cumprod < rising.alphas_cumprod)[:-1].all())


def test_the_cosine_may_have_no_offset() -> None:
    for n in (1, 20, 39):
        assert cosine(40, s=0).alphas_cumprod[n - 1].item() == pytest.approx(math.cos(n / 80 * math.pi) ** 2)
    for wrong in (-1e-3, INF, NAN):
        with pytest.raises(InputError, match=f"s is a number at least 0, not {wrong:g}"):
            cosine(40, s=wrong)


@pytest.mark.parametrize("ends", [(0.0, 20.0), (20.0, 0.1), (3.0, 3.0), (0.1, 20.0)])
def test_vp_is_its_integral_and_its_time_the_inverse_for_any_betas(ends: tuple[float, float]) -> None:
    schedule, t = vp(*ends), torch.linspace(0, 1, 101, dtype=torch.float64)
    level = schedule(t)
    integral = t * ends[0] + t**2 / 2 * (ends[1] - ends[0])
    torch.testing.assert_close(level.alpha, (-integral / 2).exp(), rtol=1e-12, atol=0)
    torch.testing.assert_close(schedule.time(level.log_snr), t, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [*DISCRETE, "ladder"])
@pytest.mark.parametrize("steps", [0, -3, 2.5, 1000.0, INF, NAN, "10"], ids=str)
def test_steps_are_a_whole_number_above_zero(name: str, steps: Any) -> None:
    with pytest.raises(InputError, match=f"steps are a whole number, at least [12], and not {steps}"):
        schedules[name](steps)
    assert schedules[name](np.int64(10)).steps == 10


def test_ranges_that_stay_where_they_are_have_a_meaning() -> None:
    assert linear(5, 0.1, 0.1).betas.tolist() == pytest.approx([0.1] * 5)
    assert vp(2.0, 2.0)(1.0).alpha.item() == pytest.approx(math.exp(-1))
    assert vp(2.0, 2.0).time(vp(2.0, 2.0)(0.3).log_snr).item() == pytest.approx(0.3)


@pytest.mark.parametrize("name", sorted(schedules))
@pytest.mark.parametrize("t", [-1e-9, 1.001, -5.0, 1e9, NAN, INF, -INF, [0.5, 1.5], [NAN, 0.5]], ids=str)
def test_times_outside_the_schedule_are_refused(name: str, t: float | list[float]) -> None:
    for value in (t, torch.tensor(t, dtype=torch.float64), np.array(t)):
        with pytest.raises(InputError, match="times of a schedule lie from 0"):
            schedules[name]()(value)


@pytest.mark.parametrize("name", sorted(schedules))
def test_times_and_log_snrs_may_be_lists_and_arrays(name: str) -> None:
    schedule = schedules[name]()
    times = [0.25, 0.5, 1.0]
    expected = schedule(torch.tensor(times, dtype=torch.float64))
    for kind in (list, tuple, np.array, lambda values: np.array(values[::-1])[::-1]):
        level = schedule(kind(times))
        assert torch.equal(level.alpha, expected.alpha) and torch.equal(level.sigma, expected.sigma)
        back = schedule.time(kind(expected.log_snr.tolist()))
        torch.testing.assert_close(back, expected.t, rtol=0, atol=1e-9)
    assert schedule.time(float(expected.log_snr[1])).item() == pytest.approx(0.5)


@pytest.mark.parametrize("name", [*DISCRETE, "ladder"])
def test_levels_may_be_asked_for_by_lists_and_arrays(name: str) -> None:
    schedule = schedules[name](10)
    expected = schedule.level(torch.tensor([0, 3, 10]))
    kinds = [0, 3, 10], (0.0, 3.0, 10.0), np.array([0, 3, 10]), np.array([0.0, 3, 10]), np.array([10, 3, 0])[::-1]
    for n in kinds:
        level = schedule.level(n)
        assert all(torch.equal(getattr(level, part), getattr(expected, part)) for part in ("t", "alpha", "sigma"))
    for wrong in (2.7, [1, 2.5], NAN, INF, np.array([0.1])):
        with pytest.raises(InputError, match="0 to 10"):
            schedule.level(wrong)


@pytest.mark.parametrize("n", [-1, 11, torch.tensor([3, 11]), torch.tensor([0, -2])])
def test_a_level_off_the_grid_is_refused(n: int | torch.Tensor) -> None:
    with pytest.raises(InputError, match="0 to 10"):
        linear(10).level(n)


def test_defaults_are_the_papers() -> None:
    assert linear().steps == quadratic().steps == cosine().steps == sigmoid().steps == 1000
    assert linear().alphas_cumprod[-1].item() == pytest.approx(4.0358e-5, rel=1e-4)
    # Song et al. 2021, appendix C: 0.1 and 20, so alpha_bar(1) = exp(-10.05); 0.01 and 50.
    assert vp()(1.0).alpha.item() ** 2 == pytest.approx(math.exp(-10.05))
    assert ve()(1.0).sigma.item() == pytest.approx(50)
