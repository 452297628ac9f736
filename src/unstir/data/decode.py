"""One encoded image to uint8 (C, H, W): orientation, depth, transparency, channels, size. Pillow does the work.

Sixteen bits become eight by v / 257, rounded, so that 65535 becomes 255, and other depths likewise. (Pillow itself
reads 16-bit *colour* at its upper eight bits, which differs by at most 1.) An image is scaled with an antialiased
bicubic filter, in one resampling, so that it just covers the wanted size, and its centre is cut out; or so that it
just fits in, and the ground fills the rest.

Transparent pixels are laid over the ground, or their transparency is kept. Then pixels that are wholly clear get
the ground's colour, for what lies hidden there is arbitrary, and a network would learn it. So, but at soft edges,
colours are those of the image laid over the ground, which a model of three channels has learned, and where a drawn
image is too opaque the ground shows and no foreign colour. Colours multiplied by opacity would be defined as well,
but not be what pictures and those who read them hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps

from unstir.data.config import Fit
from unstir.errors import InputError
from unstir.ground import CHECKER, laid_over

Encoded = Path | bytes | np.ndarray

_GRAY = ("1", "L", "LA")
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of a TIFF, and values of the last two:
_WHITE_IS_ZERO, _SIGNED = 0, 2


@dataclass(frozen=True)
class Decoded:
    """A decoded image, and how large it was.

    Attributes:
        pixels: uint8 (C, H, W).
        own: its (H, W) as it is stored, turned upright.
    """

    pixels: np.ndarray
    own: tuple[int, int]


def decode(
    encoded: Encoded,
    size: tuple[int, int] | None,
    channels: int | None,
    fit: Fit = "crop",
    ground: str = "white",
) -> np.ndarray:
    """Decode one image: see :func:`decoded`.

    Returns:
        uint8 (C, H, W).
    """
    return decoded(encoded, size, channels, fit, ground).pixels


def decoded(
    encoded: Encoded, size: tuple[int, int] | None, channels: int | None, fit: Fit, ground: str
) -> Decoded:
    """Decode one image, and say how large it was.

    Args:
        encoded: a file, the bytes of one, or pixels already decoded: uint8 (C, H, W).
        size: (H, W) to bring it to; None leaves the size.
        channels: 1, 3 or 4; None: 1 if the image is stored as gray, otherwise 3, and arrays as they are.
        fit: how it is brought to that size, see :class:`unstir.data.config.DataConfig`.
        ground: what is beneath transparent pixels and beside padded images.

    Raises:
        Exception: whatever Pillow raises on a damaged image, which may be nearly anything.
    """
    if isinstance(encoded, np.ndarray):
        own = encoded.shape[1:]
        if size in (None, own) and channels in (None, len(encoded)) and channels != 4:
            return Decoded(encoded, own)
        # A single axis of channels has no mode in Pillow: (1, H, W) is taken as (H, W).
        image = Image.fromarray(encoded[0] if len(encoded) == 1 else encoded.transpose(1, 2, 0))
        channels = channels or len(encoded)
    else:
        image = _upright(encoded)
    return Decoded(_pixels(image, size, channels, fit, ground), (image.height, image.width))


def shape_of(encoded: Encoded) -> tuple[int, int, int]:
    """The (C, H, W) that the head of an image gives, without decoding it; before it is turned upright.

    Raises:
        Exception: whatever Pillow raises on a damaged image, which may be nearly anything.
    """
    if isinstance(encoded, np.ndarray):
        channels, height, width = encoded.shape
        return channels, height, width
    with _opened(encoded) as image:
        gray = image.mode in _GRAY or image.mode.startswith("I")
        return 1 if gray else 3, image.height, image.width


def _upright(encoded: Path | bytes) -> Image.Image:
    """An image of at most eight bits a channel, turned as its EXIF data say."""
    with _opened(encoded) as image:
        deep = any("RGB;16" in str(tile[3]) for tile in image.tile)  # colour of 16 bits, of which Pillow keeps 8
        image.load()
        clear = image.info.get("transparency")
        if deep and clear:
            image.info["transparency"] = tuple(value >> 8 for value in clear)
        tags = getattr(image, "tag_v2", {})  # of a TIFF
        return _eight_bit(ImageOps.exif_transpose(image), tags)


def _opened(encoded: Path | bytes) -> ImageFile.ImageFile:
    """An image of which the head is read; Pillow refuses one of more than about 179 million pixels."""
    if isinstance(encoded, bytes):
        return Image.open(BytesIO(encoded))
    if not encoded.is_file() and encoded.exists():  # a pipe would have us wait for ever
        raise ValueError("it is no file")
    return Image.open(encoded)


def decode_file(path: Path, channels: int | None = None, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode an image that a user names: see :func:`decode`.

    Raises:
        InputError: If it is not there, or cannot be read as an image.
    """
    if not path.exists():
        raise InputError(f"There is no image at {path}")
    try:
        return decode(path, size, channels)
    except Exception as error:  # of a damaged image Pillow raises nearly anything
        raise InputError(f"{path} cannot be read as an image: {error}") from None


def _pixels(
    image: Image.Image, size: tuple[int, int] | None, channels: int | None, fit: Fit, ground: str
) -> np.ndarray:
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels or (1 if image.mode in _GRAY else 3)]
    late = mode == "RGBA" or ground == CHECKER  # whose squares are of the pixels that the network sees
    if image.has_transparency_data and not late:
        image = laid_over(image.convert("RGBA"), ground)
    if image.mode != (wanted := "RGBA" if late else mode):
        image = image.convert(wanted)
    if size is not None and fit == "crop":
        image = ImageOps.fit(image, (size[1], size[0]), method=Image.Resampling.BICUBIC)
    elif size is not None:
        image = _padded(image, size, (0, 0, 0, 0) if late else ground)
    if mode == "RGBA":
        alpha = image.getchannel("A")
        image.paste(laid_over(image, ground), mask=alpha.point([255] + 255 * [0]))
        image.putalpha(alpha)
    elif late:
        image = laid_over(image, ground).convert(mode)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _padded(image: Image.Image, size: tuple[int, int], colour: str | tuple[int, ...]) -> Image.Image:
    """An image as large as fits into (H, W), in the middle of what is of this colour."""
    height, width = size
    scale = min(height / image.height, width / image.width)
    inner = max(1, round(scale * image.width)), max(1, round(scale * image.height))
    whole = Image.new(image.mode, (width, height), colour)
    place = (width - inner[0]) // 2, (height - inner[1]) // 2
    whole.paste(image.resize(inner, Image.Resampling.BICUBIC), place)
    return whole


def _eight_bit(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """An image of at most eight bits a channel; Pillow has made that of all but deep gray ones."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; store them in 8 or 16 bits")
    if tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED:
        raise ValueError("its pixels have signs; store them as 8 or 16 bits without")
    clear = image.info.get("transparency")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    bits = tags.get(_BITS, (16,))[0]
    values = np.asarray(image).astype(np.int64)
    if bits > 16 or values.min() < 0 or values.max() > 65535:
        raise ValueError("its pixels have more than 16 bits; store them in 8 or 16")
    top = 2**bits - 1
    shown = top - values if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else values
    gray = Image.fromarray(((shown * 255 + top // 2) // top).astype(np.uint8))
    if clear is None:
        return gray
    return Image.merge("LA", [gray, Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))])
