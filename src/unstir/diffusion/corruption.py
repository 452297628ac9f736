r"""Corruptions: what an image suffers before a denoising autoencoder sees it (Vincent et al. 2008).

Each is a pure function ``(x0, level, eps) -> x`` of standard normal noise, so that all draw from one source; how
much is corrupted is ``level.sigma``.

=================== ======================================================================================
``gaussian``        ``alpha x0 + sigma eps``: the forward process itself; sigma is in units of the image
``masking``         a share ``sigma`` of the pixels turns black
``salt_and_pepper`` a share ``sigma`` of the pixels turns black or white, as many one as the other
=================== ======================================================================================

Under squared error the best answer is :math:`E[x_0 | x]`. For Gaussian noise with alpha = 1 that is a step along
the score of the noised density (Alain and Bengio 2014), known before as Tweedie's formula:

.. math:: d(x) = x + \sigma^2 \nabla \log q_\sigma(x)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unstir.diffusion.noise_level import NoiseLevel

Corruption = Callable[[Tensor, NoiseLevel, Tensor], Tensor]
"""From clean images, a level and standard normal noise (B, C, H, W) to corrupted images."""


def gaussian(x0: Tensor, level: NoiseLevel, eps: Tensor) -> Tensor:
    """Add Gaussian noise, as the forward process does."""
    return level.noise(x0, eps)


def masking(x0: Tensor, level: NoiseLevel, eps: Tensor) -> Tensor:
    """Turn pixels black, all channels together, each with probability ``level.sigma`` in [0, 1]."""
    uniform, share = _uniform(x0, level, eps)
    return torch.where(uniform < share, -1.0, x0)


def salt_and_pepper(x0: Tensor, level: NoiseLevel, eps: Tensor) -> Tensor:
    """Turn pixels black or white, each with probability ``level.sigma / 2``, all channels together."""
    uniform, share = _uniform(x0, level, eps)
    peppered = torch.where(uniform < share / 2, -1.0, x0)
    return torch.where(uniform > 1 - share / 2, 1.0, peppered)


def _uniform(x0: Tensor, level: NoiseLevel, eps: Tensor) -> tuple[Tensor, Tensor]:
    """Return a uniform number for each pixel, (B, 1, H, W), and the share of pixels to corrupt."""
    return torch.special.ndtr(eps[:, :1]), level.coefficients(x0)[1]


corruptions: dict[str, Corruption] = {
    "gaussian": gaussian,
    "masking": masking,
    "salt_and_pepper": salt_and_pepper,
}
