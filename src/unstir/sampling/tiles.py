"""Large images in overlapping pieces: what a network cannot take at once it takes tile by tile.

Where tiles overlap, the answer is their mean under weights that rise from each tile's edge: no seam is seen. For
a walk from noise the mean is taken of the predictions, at every level, so that the tiles of one image are drawn
together and agree (Bar-Tal et al. 2023, MultiDiffusion).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel, Prediction

Tile = tuple[slice, slice]
"""Rows and columns of an image."""


def tiles(height: int, width: int, side: int | tuple[int, int], overlap: int) -> list[Tile]:
    """Return tiles of at most ``side`` pixels a side that cover an image and overlap by at least ``overlap``.

    ``side`` is one number, or two for a tile's height and width.
    """
    high, wide = (side, side) if isinstance(side, int) else side
    return list(itertools.product(_spans(height, high, overlap), _spans(width, wide, overlap)))


def _spans(length: int, side: int, overlap: int) -> list[slice]:
    if length <= side:
        return [slice(0, length)]
    count = 1 - (side - length) // (side - overlap)
    starts = torch.linspace(0, length - side, count, dtype=torch.float64).round().int().tolist()
    return [slice(start, start + side) for start in starts]


def window(tile: Tile, overlap: int) -> Tensor:
    """Return the weight of each pixel of a tile, above 0 and at most 1, rising from its edges, shape (h, w)."""
    rows, columns = (_ramp(span.stop - span.start, overlap) for span in tile)
    return rows[:, None] * columns


def _ramp(length: int, overlap: int) -> Tensor:
    place = torch.arange(1, length + 1)
    return torch.minimum(place, place.flip(0)).clamp(max=overlap + 1) / (overlap + 1)


def in_tiles(
    piece: Callable[[Tile], Tensor], size: Sequence[int], side: int, overlap: int, factor: int = 1
) -> Tensor:
    """Return a whole (B, C, factor * H, factor * W) that is made tile by tile; one that fits a tile is it alone.

    Args:
        piece: Makes what belongs to a tile (h, w): (B, C, factor * h, factor * w).
        size: H and W of what is cut into tiles.
        side: Of a tile, at most.
        overlap: By how much tiles overlap at least, below ``side``.
        factor: How many times larger the whole is.
    """
    height, width = size
    cuts = tiles(height, width, side, overlap)
    if len(cuts) == 1:
        return piece(cuts[0])
    total, weights = None, None
    for tile in cuts:
        part = piece(tile)
        rows, columns = (slice(factor * span.start, factor * span.stop) for span in tile)
        weight = window((rows, columns), factor * overlap).to(part)
        if total is None or weights is None:
            weights = part.new_zeros(factor * height, factor * width)
            total = part.new_zeros(*part.shape[:2], *weights.shape)
        total[..., rows, columns] += weight * part
        weights[rows, columns] += weight
    assert total is not None and weights is not None
    return total.div_(weights)


def tiled(denoise: Denoise, side: tuple[int, int], overlap: int) -> Denoise:
    """Return the denoiser of images (B, ..., H, W) of any size from one of tiles; each is asked about by itself.

    Args:
        denoise: For images of ``side`` pixels.
        side: Height and width of a tile.
        overlap: By how many pixels tiles overlap at least, below ``side``.
    """

    def whole(x: Tensor, level: NoiseLevel) -> Prediction:
        pieces = tiles(x.shape[-2], x.shape[-1], side, overlap)
        windows = [window(tile, overlap).to(x) for tile in pieces]
        predictions = [denoise(x[..., rows, columns], level) for rows, columns in pieces]

        def joined(parts: list[Tensor]) -> Tensor:
            total, weights = torch.zeros_like(x), torch.zeros_like(x)
            for (rows, columns), weight, part in zip(pieces, windows, parts):
                total[..., rows, columns] += weight * part
                weights[..., rows, columns] += weight
            return total / weights

        x0, eps = joined([each.x0 for each in predictions]), joined([each.eps for each in predictions])
        variances = [each.variance for each in predictions if each.variance is not None]
        drifts = [each.drift for each in predictions if each.drift is not None]
        return replace(
            predictions[0],
            x0=x0,
            eps=eps,
            variance=joined(variances) if variances else None,
            drift=joined(drifts) if drifts else None,
        )

    return whole
