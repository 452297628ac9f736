"""Keeping the predicted image where images live: wrappers from one ``Denoise`` to another.

Clipping changes ``eps`` with ``x0``, so that the two always describe the same ``x``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel, Prediction


def clipped(denoise: Denoise) -> Denoise:
    """Clip the predicted image to [-1, 1] (Ho et al. 2020)."""

    def denoise_clipped(x: Tensor, level: NoiseLevel) -> Prediction:
        return Prediction.from_x0(denoise(x, level).x0.clamp(-1, 1), x, level)

    return denoise_clipped


def dynamically_thresholded(denoise: Denoise, quantile: float = 0.995) -> Denoise:
    """Clip each image to the quantile of its own absolute values, at least 1, and scale it back to [-1, 1].

    Saharia et al. 2022 (Imagen), section 2.3; made for strong guidance.
    """

    def denoise_thresholded(x: Tensor, level: NoiseLevel) -> Prediction:
        x0 = denoise(x, level).x0
        limit = torch.quantile(x0.flatten(1).abs().float(), quantile, dim=1).clamp(min=1).to(x0)
        limit = limit.reshape(-1, *[1] * (x0.dim() - 1))
        return Prediction.from_x0(torch.maximum(torch.minimum(x0, limit), -limit) / limit, x, level)

    return denoise_thresholded
