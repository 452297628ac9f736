"""A walk that is watched is the same walk, and of an exact denoiser it has the spread of noised data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel, Prediction
from unstir.diffusion.schedule import cosine
from unstir.doctor.trace import Trace
from unstir.sampling import SeededNoise, grid, sample
from unstir.sampling.ddim import DDIM

MEAN, VARIANCE = torch.tensor([0.3, -0.5, 0.1]).view(3, 1, 1), 0.2


def exact(x: Tensor, level: NoiseLevel) -> Prediction:
    """Return the denoiser of independent normal pixels."""
    alpha, sigma = float(level.alpha), float(level.sigma)
    gain = alpha * VARIANCE / (alpha**2 * VARIANCE + sigma**2)
    return Prediction.from_x0(MEAN + gain * (x - alpha * MEAN), x, level)


def test_it_changes_nothing_and_sees_the_forward_process() -> None:
    levels, noise = grid(cosine(), 100, "trailing"), SeededNoise(range(40))
    start, solver = noise(torch.empty(40, 3, 16, 16)), DDIM(0.0)
    trace = Trace()
    watched = sample(trace(exact), start, levels, solver, SeededNoise(range(40)))
    assert torch.equal(watched, sample(exact, start, levels, solver, SeededNoise(range(40))))
    assert len(trace.points) == 100
    for point in trace.points:
        alpha, sigma = float(point.level.alpha), float(point.level.sigma)
        assert point.spread == pytest.approx((alpha**2 * VARIANCE + sigma**2) ** 0.5, rel=0.06)
        assert torch.allclose(point.mean, alpha * MEAN.flatten().double(), atol=0.06)


def test_it_counts_what_lies_beyond_the_range() -> None:
    trace, level = Trace(), cosine().level(500)
    x0 = torch.full((1, 1, 2, 2), 0.5)
    x0[..., 0, 0], x0[..., 1, 1] = 3.0, -1.01

    trace(lambda x, level: Prediction.from_x0(x0, x, level))(torch.zeros(1, 1, 2, 2), level)
    assert trace.points[0].beyond == 0.25
