r"""Heun's method for the probability flow (Karras et al. 2022, algorithm 2).

An Euler step in ``x / alpha`` over ``s = sigma / alpha`` (:mod:`unstir.sampling.euler`), then again with the mean
of the noise predicted at both its ends:

.. math:: \frac{x_t}{\alpha_t} = \frac{x_h}{\alpha_h} + (s_t - s_h) \frac{\hat\epsilon_h + \hat\epsilon_t}{2}

A step down from much noise can divide s by hundreds (the first one of a cosine schedule in few steps), or
by infinity (from pure noise). The rule is then taken in :math:`u = 1 / s`, where the flow is just as smooth:
the mean of the predicted images takes the place of that of the noises (:mod:`unstir.sampling.exponential`). The
order is two either way.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel, Prediction
from unstir.diffusion.noise_level import Noise, broadcast
from unstir.sampling.exponential import towards

STEEPEST = 10.0
"""The most that s may be divided by in a step from above s = 1 that is taken in s. The rule multiplies the
difference of the predicted images by half as much."""


@dataclass(frozen=True)
class Heun:
    """Heun's method (Karras et al. 2022): second order, two evaluations a step."""

    def init(self, x: Tensor, start: NoiseLevel) -> None:
        """Nothing is remembered."""

    def step(
        self, denoise: Denoise, x: Tensor, here: NoiseLevel, there: NoiseLevel, state: None, noise: Noise
    ) -> tuple[Tensor, None]:
        """Move along the mean of the noise predicted here and there."""
        first = denoise(x, here)
        return trapezoid(x, first, denoise(there.noise(first.x0, first.eps), there)), None


def trapezoid(x: Tensor, first: Prediction, second: Prediction) -> Tensor:
    """Return ``x`` (B, ...) moved from the level of ``first`` to that of ``second`` along the mean of the two."""
    here, there = first.level, second.level
    steep = here.sigma * there.alpha > STEEPEST * there.sigma * here.alpha
    if steep and here.sigma > here.alpha:
        return towards(x, (first.x0 + second.x0) / 2, here, there)
    return along(x, (first.eps + second.eps) / 2, here, there)


def along(x: Tensor, eps: Tensor, here: NoiseLevel, there: NoiseLevel) -> Tensor:
    """Return ``x`` (B, ...) moved from ``here``, with ``alpha`` above 0, while the mean noise is ``eps``."""
    ratio = there.alpha / here.alpha
    return broadcast(ratio, x) * x + broadcast(there.sigma - ratio * here.sigma, x) * eps
