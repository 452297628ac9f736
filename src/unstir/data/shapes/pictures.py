"""Scenes drawn at any resolution: shapes several times as large without antialiasing, then averaged over squares.

Lengths are in sides of the picture, so that every resolution shows the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from unstir.data.shapes.scenes import Scene, Shape

Point = tuple[float, float]
"""x to the right and y downwards."""

RADII = {"small": 0.15, "large": 0.23}
"""Of the circle around a shape; a place is a square of half a side."""

CENTRES = {
    "top left": (0.25, 0.25),
    "top right": (0.75, 0.25),
    "bottom left": (0.25, 0.75),
    "bottom right": (0.75, 0.75),
    "middle": (0.5, 0.5),
}

_COLOURS = {
    "red": (225, 25, 30),
    "orange": (255, 135, 0),
    "yellow": (250, 220, 0),
    "green": (30, 150, 50),
    "cyan": (40, 205, 225),
    "blue": (30, 70, 230),
    "purple": (130, 40, 180),
    "pink": (255, 120, 190),
}
_BACKGROUNDS = {"black": (0, 0, 0), "gray": (128, 128, 128), "white": (255, 255, 255), "beige": (230, 212, 178)}

_DARKER = 0.4
"""The second colour of a pattern, times the first."""


def render(scene: Scene, size: int) -> np.ndarray:
    """Return the picture of a scene, uint8 (3, size, size)."""
    background = np.array(_BACKGROUNDS[scene.background], np.float32)
    picture = np.empty((3, size, size), np.uint8)
    picture[:] = background[:, None, None]
    for shape in scene.shapes:
        left, top, whole, dark = _coverage(shape, size)
        colour = np.array(_COLOURS[shape.colour], np.float32)
        side = len(whole)
        patch = background[:, None, None] + np.multiply.outer(colour - background, whole)
        if dark is not None:
            patch += np.multiply.outer((_DARKER - 1) * colour, dark)
        picture[:, top : top + side, left : left + side] = np.rint(patch)
    return picture


def _coverage(shape: Shape, size: int) -> tuple[int, int, np.ndarray, np.ndarray | None]:
    """How much of each pixel a shape covers, in a square that holds it whole.

    Returns:
        The first column and row of the square; float32 (side, side) from 0 to 1, how much the shape covers; and
        how much of that is of the darker colour of its pattern, if it has one.
    """
    radius, centre = size * RADII[shape.size], [size * place for place in CENTRES[shape.place]]
    left, top = (math.floor(place - radius) for place in centre)
    side, finer = math.ceil(2 * radius) + 1, max(4, 512 // size)
    # Pillow cuts corners off to whole pixels, and fills also those that an outline meets: a third of one too many.
    x, y = ((place - first) * finer for place, first in zip(centre, (left, top)))
    cosine, sine = (turn(math.radians(shape.angle)) * radius * finer for turn in (math.cos, math.sin))

    def filled(polygons: Sequence[Sequence[Point]]) -> Image.Image:
        """Polygons in units of the shape's radius about its centre, turned with it."""
        mask = Image.new("L", (side * finer, side * finer))
        draw = ImageDraw.Draw(mask)
        for polygon in polygons:
            draw.polygon([(x + cosine * u - sine * v, y + sine * u + cosine * v) for u, v in polygon], fill=255)
        return mask

    def averaged(mask: Image.Image) -> np.ndarray:
        return np.asarray(mask.reduce(finer), np.float32) / np.float32(255)

    outline = filled([_OUTLINES[shape.kind]])
    if shape.texture == "plain":
        return left, top, averaged(outline), None
    dark = ImageChops.multiply(outline, filled(_PATTERNS[shape.texture]))
    return left, top, averaged(outline), averaged(dark)


def _ring(corners: int, *radii: float, first: float = -90) -> list[Point]:
    """Points around the centre, the first upwards, at ``radii`` in turn."""
    points = []
    for n in range(corners):
        turn, radius = math.radians(first + 360 * n / corners), radii[n % len(radii)]
        points.append((radius * math.cos(turn), radius * math.sin(turn)))
    return points


def _heart() -> list[Point]:
    points = []
    for n in range(60):
        cosines = [math.cos(2 * math.pi * n * k / 60) for k in range(5)]
        height = 13 * cosines[1] - 5 * cosines[2] - 2 * cosines[3] - cosines[4]  # from -17 to 12
        points.append((16 * math.sin(2 * math.pi * n / 60) ** 3, -2.5 - height))
    reach = max(math.hypot(x, y) for x, y in points)
    return [(x / reach, y / reach) for x, y in points]


def _box(left: float, top: float, right: float, bottom: float) -> list[Point]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


_ARM = 0.3  # half of a cross's
_REACH = math.sqrt(1 - _ARM**2)

_OUTLINES: dict[str, list[Point]] = {
    "circle": _ring(72, 0.9),
    "square": _ring(4, 1.0, first=-45),
    "triangle": _ring(3, 1.0),
    "cross": [
        (x * a - y * b, y * a + x * b)
        for a, b in ((1, 0), (0, 1), (-1, 0), (0, -1))
        for x, y in ((_ARM, -_ARM), (_REACH, -_ARM), (_REACH, _ARM))
    ],
    "star": _ring(10, 1.0, 0.42),
    "heart": _heart(),
}

_BAND, _CELL = 0.4, 2 / 3
_PATTERNS: dict[str, list[list[Point]]] = {
    "striped": [_box(-1, (n - 0.5) * _BAND, 1, (n + 0.5) * _BAND) for n in (-2, 0, 2)],
    "checkered": [
        _box((column - 0.5) * _CELL, (row - 0.5) * _CELL, (column + 0.5) * _CELL, (row + 0.5) * _CELL)
        for row in (-1, 0, 1)
        for column in (-1, 0, 1)
        if (row + column) % 2 == 0
    ],
}
