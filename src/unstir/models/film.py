"""Films: pictures in a row that begin again at the end, each with a line of writing over it. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageDraw, ImageFont

LONGEST, LEAST, MOST, REST = 4000, 20, 500, 2000
"""Milliseconds of a whole film, about; of a frame, at least and at most; and of the last."""

_LETTERS = 16


def titled(picture: Image.Image, text: str) -> Image.Image:
    """Return a picture on white with a line of writing over it, RGB."""
    top = _LETTERS + 6
    frame, shown = Image.new("RGB", (picture.width, picture.height + top), "white"), picture.convert("RGBA")
    frame.paste(shown, (0, top), shown)
    ImageDraw.Draw(frame).text((4, 2), text, fill="black", font=ImageFont.load_default(_LETTERS))
    return frame


def within(picture: Image.Image, largest: int) -> Image.Image:
    """Return a picture made smaller, if a side of it is longer than so many pixels."""
    factor = largest / max(picture.size)
    if factor >= 1:
        return picture
    width, height = (max(1, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def write_film(frames: Sequence[Image.Image], to: Path | BinaryIO, kind: str, quality: int = 80) -> None:
    """Write a film of about four seconds, or less if there are few frames; it rests at its end.

    Args:
        frames: At least two, of one size.
        to: A file, or its path.
        kind: ``GIF`` or ``WEBP``.
        quality: Of a WebP film, from 0 to 100.
    """
    each = min(MOST, max(LEAST, round(LONGEST / len(frames))))
    how = {"duration": [each] * (len(frames) - 1) + [REST], "loop": 0, "quality": quality, "method": 0}
    frames[0].save(to, kind, save_all=True, append_images=frames[1:], **how)
