r"""Guidance: wrappers from one ``Denoise`` to another, so that they compose and no sampler knows of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from unstir.diffusion import Condition, Denoise, NoiseLevel, Prediction


def conditioned(
    denoise: Callable[[Tensor, NoiseLevel, Condition | None], Prediction], condition: Condition | None
) -> Denoise:
    """Return the denoiser with its condition fixed."""
    return lambda x, level: denoise(x, level, condition)


def classifier_free(
    denoise: Callable[[Tensor, NoiseLevel, Condition], Prediction],
    condition: Condition,
    w: float,
    names: Iterable[str] | None = None,
) -> Denoise:
    r"""Return the guided denoiser :math:`(1 + w) \epsilon(x, c) - w \epsilon(x)` (Ho and Salimans 2022, eq. 6).

    Both predictions come from one call on a doubled batch. A learned variance is that of the conditional
    prediction.

    Args:
        denoise: What is guided, such as a denoiser trained with conditions hidden at random.
        condition: What to draw, for each image of the batch.
        w: The strength; 0 is off.
        names: The parts of the condition that are hidden in :math:`\epsilon(x)`, and so pushed towards; the others
            stand in both predictions. None for all.
    """
    both = condition.beside(condition.hide(names))

    def guided(x: Tensor, level: NoiseLevel) -> Prediction:
        prediction = denoise(torch.cat([x, x]), _twice(level), both)
        x0, x0_free = prediction.x0.chunk(2)
        eps, eps_free = prediction.eps.chunk(2)
        variance = None if prediction.variance is None else prediction.variance.chunk(2)[0]
        return Prediction((1 + w) * x0 - w * x0_free, (1 + w) * eps - w * eps_free, level, variance)

    return guided


def _twice(level: NoiseLevel) -> NoiseLevel:
    """Return the level of a batch joined to itself."""
    if level.t.dim() == 0:
        return level
    return NoiseLevel(*(torch.cat([value, value]) for value in (level.t, level.alpha, level.sigma)))
