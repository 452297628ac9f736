"""Large images in overlapping pieces: what a network cannot take at once it takes tile by tile.

Where tiles overlap, the answer is their mean under weights that rise from each tile's edge: no seam is seen.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

Tile = tuple[slice, slice]
"""Rows and columns of an image."""


def tiles(height: int, width: int, side: int, overlap: int) -> list[Tile]:
    """Return tiles of at most ``side`` pixels a side that cover an image and overlap by at least ``overlap``."""
    return list(itertools.product(_spans(height, side, overlap), _spans(width, side, overlap)))


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
