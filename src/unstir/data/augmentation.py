r"""Images altered at random, of which a model is told how: few images are more, and no sample is altered.

Half of the images are mirrored, each other change is made with a probability of its own, and its numbers are
told; where none is made nothing is told (Karras et al. 2022, appendix F.2). So a network knows a turned image for
a turned one, and when it draws and is told nothing, it draws images as they are. The numbers, all 0 where a change
is not made, are

.. math::
    f, \quad \log_2 s, \quad \log_2 r, \quad \cos\varphi - 1, \ \sin\varphi, \quad d_x, \ d_y, \quad
    b, \quad \log_2 c, \quad \cos\vartheta - 1, \ \sin\vartheta, \quad \log_2 g

of mirroring, scaling, stretching, rotation, shift, brightness, contrast, hue and saturation. What comes in from
beyond an image's edge is its reflection. Of gray images hue and saturation stay, and transparency always does.

All that is random comes from a generator that is made anew for each image and each pass over the data, so it is
the same for whoever asks, in whatever order.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unstir.data.columns import Column
from unstir.errors import InputError
from unstir.networks.told import AUGMENTATION

WIDTH = 12
"""How many numbers are told."""

MIRRORED = 0.5
"""How probably an image is mirrored, whatever the probability of the other changes: nothing is lost by it."""

SCALE, STRETCH, SHIFT, BRIGHTNESS, CONTRAST, HUE, SATURATION = 0.2, 0.2, 1 / 8, 0.2, 0.3, 0.5, 0.5
"""Standard deviations: of logarithms, of parts of a side, of half the range of pixels, of an angle."""


def check(p: float, columns: Mapping[str, Column], degradations: tuple[str, ...]) -> None:
    """Check that images with these columns can be altered.

    Raises:
        InputError: If not.
    """
    pictures = [name for name, known in columns.items() if known.kind == "picture"]
    if p and (pictures or degradations):
        raise InputError(
            f"augmentation alters images, and would leave {pictures[0] if pictures else 'degraded ones'} as they "
            "are: set data.augment to 0"
        )
    if p and AUGMENTATION in columns:
        raise InputError(f"the images have a column '{AUGMENTATION}' of their own: rename it")


def drawn(indices: np.ndarray, passes: np.ndarray | None, p: float) -> np.ndarray:
    """Return how images are altered, float32 (B, WIDTH); NaN in the rows of those that are not.

    Args:
        indices: int (B,), each image's place in its set.
        passes: int (B,), the pass over the set that it is met in, from 0 on; None where none are altered.
        p: The probability of each change but mirroring; 0 for none at all.
    """
    told = np.full((len(indices), WIDTH), np.nan, dtype=np.float32)
    if passes is None or p == 0:
        return told
    for i, (index, met) in enumerate(zip(indices.tolist(), passes.tolist())):
        generator = np.random.default_rng([index, met, WIDTH])
        chosen = generator.random(8) < (MIRRORED, *[p] * 7)
        numbers, angle = generator.standard_normal(8), generator.uniform(-np.pi, np.pi)
        flip, scale, stretch, turn, shift, bright, contrast, colour = chosen
        if chosen.any():
            hue = HUE * numbers[6]
            told[i] = [
                flip,
                scale * SCALE * numbers[0],
                stretch * STRETCH * numbers[1],
                turn * (np.cos(angle) - 1),
                turn * np.sin(angle),
                shift * SHIFT * numbers[2],
                shift * SHIFT * numbers[3],
                bright * BRIGHTNESS * numbers[4],
                contrast * CONTRAST * numbers[5],
                colour * (np.cos(hue) - 1),
                colour * np.sin(hue),
                colour * SATURATION * numbers[7],
            ]
    return told


def altered(images: Tensor, told: Tensor) -> Tensor:
    """Return images (B, C, H, W) in [-1, 1], altered as is told (B, WIDTH); those with NaN are as they were."""
    result = images.clone()
    moved = told[:, :7].nan_to_num().any(1)
    if moved.any():
        result[moved] = _moved(images[moved], told[moved, :7].double())
    coloured = told[:, 7:].nan_to_num().any(1)
    if coloured.any():
        result[coloured] = _coloured(result[coloured], told[coloured, 7:].double())
    return result.clamp(-1, 1)


def _moved(images: Tensor, told: Tensor) -> Tensor:
    flip, scale, stretch, cosine, sine, across, down = told.unbind(1)
    zero, cosine = torch.zeros_like(flip), cosine + 1
    turn = torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)
    size = torch.stack([(1 - 2 * flip) * 2 ** (scale + stretch), zero, zero, 2 ** (scale - stretch)], 1)
    height, width = images.shape[-2:]
    half = torch.tensor([width / 2, height / 2], dtype=told.dtype)
    # From where a pixel goes to whence it comes, in pixels about the middle; then in halves of the sides.
    back = torch.linalg.inv(turn @ size.view(-1, 2, 2))
    shift = 2 * torch.stack([across, down], 1) * half
    theta = torch.cat([back, -back @ shift[..., None]], 2) / half[:, None]
    theta[:, :, :2] *= half
    grid = functional.affine_grid(theta.to(images), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bicubic", padding_mode="reflection", align_corners=False)


def _coloured(images: Tensor, told: Tensor) -> Tensor:
    brightness, contrast, cosine, sine, saturation = told.unbind(1)
    kept = images.shape[1] % 2  # of 2 and 4 channels the last is transparency
    colours, rest = images.split([images.shape[1] - 1 + kept, 1 - kept], 1)
    if colours.shape[1] == 3:
        gray = torch.full((3, 3), 1 / 3, dtype=told.dtype)
        cross = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=told.dtype) / 3**0.5
        # A rotation about the axis of grays (Rodrigues), which saturation draws away from it.
        about = (cosine + 1)[:, None, None] * (torch.eye(3, dtype=told.dtype) - gray)
        about = about + sine[:, None, None] * cross
        matrix = gray + (2**saturation)[:, None, None] * about
        colours = torch.einsum("bij,bjhw->bihw", matrix.to(images), colours)
    scale, shift = (each.to(images)[:, None, None, None] for each in (2**contrast, brightness))
    return torch.cat([scale * colours + shift, rest], 1)
