"""The mean of the predicted image over a step, against numerical integration, and DDIM as its simplest case."""

import numpy as np
import pytest
import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel
from unstir.diffusion.schedule import flow, linear, schedules, vp
from unstir.sampling.exponential import mean_image, towards


def image(value: float) -> Tensor:
    return torch.full((1, 1), value, dtype=torch.float64)


def in_lambda(level: NoiseLevel) -> float:
    return level.log_snr.item() / 2


def integrated(polynomial: np.polynomial.Polynomial, here: NoiseLevel, there: NoiseLevel) -> float:
    """Its mean over u = alpha / sigma, from trapezoids in u."""
    start, end = np.exp(in_lambda(here)), np.exp(in_lambda(there))
    u = np.linspace(start, end, 200_001)
    return float(np.trapezoid(polynomial(np.log(u)), u) / (end - start))


@pytest.mark.parametrize("times", [(0.9, 0.8, 0.7, 0.5), (0.5, 0.45, 0.2, 0.1), (0.1, 0.3, 0.4, 0.8)], ids=str)
def test_three_points_make_a_parabola(times: tuple[float, ...]) -> None:
    # The last case runs up the grid, as inversion does.
    polynomial = np.polynomial.Polynomial([0.3, -0.7, 0.2])
    oldest, older, here, there = (vp()(t) for t in times)
    points = [(level, image(polynomial(in_lambda(level)))) for level in (oldest, older, here)]
    assert mean_image(points, here, there).item() == pytest.approx(integrated(polynomial, here, there), rel=1e-6)


def test_a_correction_takes_the_end_of_the_step_too() -> None:
    polynomial = np.polynomial.Polynomial([0.3, -0.7, 0.2, 0.4])
    levels = [vp()(t) for t in (0.8, 0.7, 0.5, 0.3)]
    points = [(level, image(polynomial(in_lambda(level)))) for level in levels]
    _, _, here, there = levels
    assert mean_image(points, here, there).item() == pytest.approx(integrated(polynomial, here, there), rel=1e-6)


def test_two_points_make_a_line_whose_mean_is_that_of_short_steps() -> None:
    older, here, there = (vp()(t) for t in (0.8, 0.5, 0.3))
    ratio = (in_lambda(here) - in_lambda(older)) / (in_lambda(there) - in_lambda(here))
    points = [(older, image(0.2)), (here, image(0.5))]
    assert mean_image(points, here, there).item() == pytest.approx(0.5 + 0.5 * (0.5 - 0.2) / ratio)
    corrected = mean_image([(here, image(0.5)), (there, image(0.9))], here, there)
    assert corrected.item() == pytest.approx(0.7)


def test_one_point_is_its_own_mean() -> None:
    here, there = vp()(0.5), vp()(0.3)
    assert torch.equal(mean_image([(here, image(0.4))], here, there), image(0.4))


def test_points_without_signal_or_not_behind_are_left_out() -> None:
    pure, here, there = flow()(1.0), flow()(0.8), flow()(0.6)
    newest = (here, image(0.5))
    assert mean_image([(pure, image(9.0)), newest], here, there).item() == 0.5
    assert mean_image([(flow()(0.7), image(9.0)), newest], here, there).item() == 0.5
    # From pure noise itself: the first step, and its correction.
    assert mean_image([(pure, image(0.4))], pure, there).item() == 0.4
    assert mean_image([(pure, image(0.4)), (there, image(0.6))], pure, there).item() == pytest.approx(0.5)


@pytest.mark.parametrize("name", sorted(schedules))
def test_a_constant_prediction_makes_ddims_step(name: str) -> None:
    here, there = schedules[name]()(0.9), schedules[name]()(0.4)
    x0, eps = torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(towards(here.noise(x0, eps), x0, here, there), there.noise(x0, eps))
    pure = flow()(1.0)
    torch.testing.assert_close(towards(pure.noise(x0, eps), x0, pure, there), there.noise(x0, eps))


def test_a_part_of_the_old_noise_may_be_kept() -> None:
    here, there = linear().level(800), linear().level(300)
    x0, eps = torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kept = torch.tensor(0.3, dtype=torch.float64)
    moved = towards(here.noise(x0, eps), x0, here, there, kept)
    torch.testing.assert_close(moved, there.alpha * x0 + 0.3 * eps)
