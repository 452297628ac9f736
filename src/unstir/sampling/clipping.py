"""Keeping the predicted image where images live: wrappers from one ``Denoise`` to another.

Clipping changes ``eps`` with ``x0``, so that the two always describe the same ``x``. A drift stays as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel, Prediction


def clipped(denoise: Denoise) -> Denoise:
    """Clip the predicted image to [-1, 1] (Ho et al. 2020)."""

    def denoise_clipped(x: Tensor, level: NoiseLevel) -> Prediction:
        prediction = denoise(x, level)
        return prediction.with_x0(prediction.x0.clamp(-1, 1), x)

    return denoise_clipped


def dynamically_thresholded(denoise: Denoise, quantile: float = 0.995) -> Denoise:
    """Clip each image to the quantile of its own absolute values, at least 1, and scale it back to [-1, 1].

    Saharia et al. 2022 (Imagen), section 2.3; made for strong guidance.
    """

    def denoise_thresholded(x: Tensor, level: NoiseLevel) -> Prediction:
        prediction = denoise(x, level)
        x0 = prediction.x0
        limit = torch.quantile(x0.flatten(1).abs().float(), quantile, dim=1).clamp(min=1).to(x0)
        limit = limit.reshape(-1, *[1] * (x0.dim() - 1))
        x0 = torch.maximum(torch.minimum(x0, limit), -limit) / limit
        return prediction.with_x0(x0, x)

    return denoise_thresholded
