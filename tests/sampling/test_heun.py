"""Heun's rule in sigma / alpha, and in alpha / sigma where a step from much noise is steep."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel, Prediction
from unstir.sampling import Heun


def at(ratio: float) -> NoiseLevel:
    """The level of a preserving process with this sigma / alpha."""
    scale = math.hypot(1, ratio)
    return NoiseLevel(0.5, 1 / scale, ratio / scale)


def fake(x: Tensor, level: NoiseLevel) -> Prediction:
    return Prediction.from_x0(torch.tanh(1.3 * x.flip(-1) + float(level.sigma)), x, level)


@pytest.mark.parametrize(
    ("here", "there", "in_u"),
    [
        (200.0, 19.0, True),
        (200.0, 21.0, False),
        (5000.0, 2.0, True),
        (1.05, 0.1, True),
        (1.05, 0.11, False),
        (0.95, 0.01, False),
        (0.2, 0.001, False),
    ],
)
def test_a_step_by_hand(here: float, there: float, in_u: bool) -> None:
    """Whether s = sigma / alpha falls to a tenth or less decides, from above s = 1 alone."""
    start, end = at(here), at(there)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alpha, sigma, alpha_end, sigma_end = (float(v) for v in (start.alpha, start.sigma, end.alpha, end.sigma))
    first = fake(x, start)
    second = fake(alpha_end * first.x0 + sigma_end * first.eps, end)
    if in_u:  # x / sigma moves by the change of u = alpha / sigma times the mean image
        expected = sigma_end * (x / sigma + (1 / there - 1 / here) * (first.x0 + second.x0) / 2)
    else:  # x / alpha moves by the change of s times the mean noise
        expected = alpha_end * (x / alpha + (there - here) * (first.eps + second.eps) / 2)
    found, _ = Heun().step(fake, x, start, end, None, torch.zeros_like)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
