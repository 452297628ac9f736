"""The set ``shapes``: scenes as a source of images, drawn when they are asked for."""

from __future__ import annotations

import numpy as np

from unstir.data.columns import Column
from unstir.data.config import DataConfig
from unstir.data.decode import Encoded
from unstir.data.listing import Contents, Listing
from unstir.data.shapes.captions import caption
from unstir.data.shapes.pictures import render
from unstir.data.shapes.scenes import BACKGROUNDS, COLOURS, KINDS, PLACES, SIZES, TEXTURES, scene
from unstir.errors import InputError

VERSION = 1
"""Of scenes, captions and pictures; whoever changes any of them raises it."""

TRAIN, HELD_OUT = 30_000, 3_000
SIDE = 64
"""In pixels, unless another is asked for."""
SMALLEST, LARGEST = 32, 1024
"""The sides in which every attribute can be seen, and a picture takes no second to draw."""


def check(config: DataConfig) -> None:
    """Check that scenes can be had in the shape that is asked for.

    Raises:
        InputError: If not.
    """
    height, width = config.size or (SIDE, SIDE)
    if height != width or not SMALLEST <= height <= LARGEST:
        raise InputError(
            f"'shapes' is drawn as squares of {SMALLEST} to {LARGEST} pixels, not {width}x{height}; set "
            "data.size to one number in between."
        )
    if config.flip:
        raise InputError(
            "what 'shapes' says of its places would be wrong of mirrored images; leave out mirroring with --set "
            "data.flip=false."
        )


def contents(size: tuple[int, int] | None) -> Contents:
    """The scenes for training and the held-out ones, of a size (H, W) that ``check`` has found right.

    Columns of classes: ``label``, the kind of the shape that is named first, its ``colour``, ``size``, ``place``
    and ``texture``, the ``background``, and the ``count`` of shapes; of numbers: the ``angle`` of the first shape
    in degrees; of text: ``caption``.
    """
    side = size[0] if size else SIDE
    return Contents(_listing(TRAIN, side, held_out=False), _listing(HELD_OUT, side, held_out=True))


def _listing(count: int, side: int, held_out: bool) -> Listing:
    scenes = [scene(i, held_out=held_out) for i in range(count)]
    first = [one.shapes[0] for one in scenes]

    def read(indices: np.ndarray) -> list[Encoded]:
        return [render(scenes[i], side) for i in indices.tolist()]

    def classes(names: tuple[str, ...], values: list[str]) -> Column:
        return Column("classes", np.array([names.index(value) for value in values], np.int64), names)

    columns = {
        "label": classes(KINDS, [shape.kind for shape in first]),
        "colour": classes(COLOURS, [shape.colour for shape in first]),
        "size": classes(SIZES, [shape.size for shape in first]),
        "place": classes(PLACES, [shape.place for shape in first]),
        "texture": classes(TEXTURES, [shape.texture for shape in first]),
        "background": classes(BACKGROUNDS, [one.background for one in scenes]),
        "count": classes(("1", "2", "3"), [str(len(one.shapes)) for one in scenes]),
        "angle": Column("numbers", np.array([[shape.angle] for shape in first], np.float32)),
        "caption": Column("text", tuple(caption(one, i) for i, one in enumerate(scenes))),
    }
    part = "held-out scene" if held_out else "scene"
    return Listing(np.arange(count), read, lambda index: f"{part} {index}", columns)
