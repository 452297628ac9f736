"""Pictures as ``data:`` addresses, so that a page needs no file beside itself: small, and sharp where small."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from matplotlib.figure import Figure
from PIL import Image

from unstir.models.film import within, write_film

LARGEST = 1200
"""Pixels of the longer side of a picture; of those along the way there are many, and they have less."""

EXACT = 60_000
"""Bytes up to which a picture is kept as it is; a larger one may lose what is not seen."""

QUALITY, FILM_QUALITY = 82, 60


@dataclass(frozen=True)
class Shown:
    """A picture on the page.

    Attributes:
        uri: Its ``data:`` address.
        width: In pixels.
        height: In pixels.
    """

    uri: str
    width: int
    height: int


def shown(picture: Image.Image, largest: int = LARGEST) -> Shown:
    """Return a picture as the page has it, no side of it longer than ``largest``."""
    if picture.mode not in ("L", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    picture = within(picture, largest)
    kind, data = "png", _encoded(picture, "PNG", optimize=True)
    if len(data) > EXACT:
        smaller = _encoded(picture, "WEBP", quality=QUALITY)
        kind, data = min(("png", data), ("webp", smaller), key=lambda pair: len(pair[1]))
    return Shown(_uri(kind, data), *picture.size)


def film(frames: Sequence[Image.Image], largest: int = 640) -> Shown:
    """Return an animation that begins again at its end.

    Args:
        frames: All of one size.
        largest: Pixels of the longer side.
    """
    small, held = [within(frame, largest) for frame in frames], BytesIO()
    write_film(small, held, "WEBP", FILM_QUALITY)
    return Shown(_uri("webp", held.getvalue()), *small[0].size)


def drawn(figure: Figure) -> Shown:
    """Return a figure with its own colours on white, as a picture."""
    held = BytesIO()
    figure.savefig(held, format="png", dpi=120, facecolor="white")
    return shown(Image.open(held).convert("RGB"))


def _encoded(picture: Image.Image, kind: str, **how: object) -> bytes:
    held = BytesIO()
    picture.save(held, kind, **how)
    return held.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode()}"
