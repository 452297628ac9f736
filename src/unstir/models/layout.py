"""How samples lie in one picture: how many in a row, how much enlarged, and how large it becomes. No torch."""

from __future__ import annotations

PADDING = 2
"""White pixels around each of several images."""

SEEN = 64
"""Pixels of the longer side to which small images are enlarged, so that a person can see them."""


def columns(count: int) -> int:
    """Return how many of ``count`` images stand in a row, for about as many rows as columns."""
    return max(1, round(count**0.5))


def enlarged(height: int, width: int) -> int:
    """Return the whole factor by which images are enlarged."""
    return max(1, round(SEEN / max(height, width)))


def padding(count: int) -> int:
    """Return how many white pixels are around each image: none around one alone."""
    return PADDING if count > 1 else 0


def grid_size(count: int, height: int, width: int) -> tuple[int, int]:
    """Return the width and height in pixels of the picture of ``count`` images."""
    factor, across, pad = enlarged(height, width), columns(count), padding(count)
    return across * (width * factor + pad) + pad, -(-count // across) * (height * factor + pad) + pad
