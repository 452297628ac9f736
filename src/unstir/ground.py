"""What transparent pictures are laid over: a colour, or a checkerboard that shows where they are clear."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from unstir.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

CHECKER = "checker"
"""Squares of two grays."""

_SQUARE, _LIGHT, _DARK = 8, 255, 204  # pixels of a side, and the two grays
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def check_ground(value: object) -> object:
    """Return a ground as it was given.

    Raises:
        InputError: If it is none.
    """
    if value in ("white", "black", CHECKER) or (isinstance(value, str) and _COLOUR.fullmatch(value)):
        return value
    raise InputError(f"a ground is white, black, {CHECKER} or a colour in quotes such as '#e8e8e8'")


def laid_over(image: Image.Image, ground: str) -> Image.Image:
    """Return an RGBA picture as RGB, laid over a ground; the squares of a checkerboard are of 8 pixels."""
    from PIL import Image

    under = Image.new("RGBA", image.size, "white" if ground == CHECKER else ground)
    if ground == CHECKER:
        under.paste(_checkerboard(*image.size))
    return Image.alpha_composite(under, image).convert("RGB")


def _checkerboard(width: int, height: int) -> Image.Image:
    import numpy as np
    from PIL import Image

    y, x = np.ogrid[:height, :width]
    return Image.fromarray(np.where((y // _SQUARE + x // _SQUARE) % 2, _DARK, _LIGHT).astype(np.uint8))
