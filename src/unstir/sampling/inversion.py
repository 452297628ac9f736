r"""DDIM inversion: from an image back to the noise that it would be drawn from.

DDIM with eta 0, run over the grid from its clean end (Song, Meng and Ermon 2021, section 4.3). The network cannot
be asked about a clean image, so the first step, to the cleanest level with noise (n = 1 on a full grid), takes the
prediction at that level:

.. math:: x_1 = \alpha_1 x_0 + \sigma_1 \hat\epsilon(x_0, 1)

Sampling with DDIM over the same grid brings the image back, with an error that falls as 1 / steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel
from unstir.diffusion.noise_level import check_falling
from unstir.errors import InputError
from unstir.sampling.guidance import absorbed


@torch.no_grad()
def invert(denoise: Denoise, x0: Tensor, levels: Sequence[NoiseLevel]) -> Tensor:
    """Return the noised images at ``levels[0]`` from which DDIM draws about ``x0``.

    Args:
        denoise: Any callable ``(x, level) -> Prediction``; asked once for each step.
        x0: Clean images, shape (B, ...).
        levels: From noise to data, as :func:`unstir.sampling.grid` gives them, the last one clean.

    Raises:
        InputError: If there are fewer than two levels, or they do not fall to clean data.
    """
    check_falling(levels)
    if len(levels) < 2 or levels[-1].sigma != 0:
        raise InputError("An image's noise is found over levels from noise to clean data, the last one clean")
    denoise = absorbed(denoise)
    rising = levels[-2::-1]
    x = rising[0].noise(x0, denoise(x0, rising[0]).eps)
    for here, there in pairwise(rising):
        prediction = denoise(x, here)
        x = there.noise(prediction.x0, prediction.eps)
    return x
