"""One encoded image to uint8 (C, H, W): orientation, depth, transparency, channels, size. Pillow does the work.

Sixteen bits become eight by v / 257, rounded, so that 65535 becomes 255, and other depths likewise. (Pillow itself
reads 16-bit *colour* at its upper eight bits, which differs by at most 1.) Transparent pixels are laid over white.
An image is scaled with an antialiased bicubic filter so that it just covers the wanted size, and its centre is cut
out, in one resampling.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps

from unstir.errors import InputError

Encoded = Path | bytes | np.ndarray

_GRAY = ("1", "L", "LA")
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of a TIFF, and values of the last two:
_WHITE_IS_ZERO, _SIGNED = 0, 2


def decode(encoded: Encoded, size: tuple[int, int] | None, channels: int | None) -> np.ndarray:
    """Decode one image.

    Args:
        encoded: a file, the bytes of one, or pixels already decoded: uint8 (C, H, W).
        size: (H, W) to scale and centre-crop to; None leaves the size.
        channels: 1, 3 or 4; None: 1 if the image is stored as gray, otherwise 3, and arrays as they are.

    Returns:
        uint8 (C, H, W).

    Raises:
        Exception: whatever Pillow raises on a damaged image, which may be nearly anything.
    """
    if isinstance(encoded, np.ndarray):
        if size in (None, encoded.shape[1:]) and channels in (None, len(encoded)):
            return encoded
        # A single axis of channels has no mode in Pillow: (1, H, W) is taken as (H, W).
        image = Image.fromarray(encoded[0] if len(encoded) == 1 else encoded.transpose(1, 2, 0))
        return _pixels(image, size, channels or len(encoded))
    with _opened(encoded) as image:
        deep = any("RGB;16" in str(tile[3]) for tile in image.tile)  # colour of 16 bits, of which Pillow keeps 8
        image.load()
        clear = image.info.get("transparency")
        if deep and clear:
            image.info["transparency"] = tuple(value >> 8 for value in clear)
        tags = getattr(image, "tag_v2", {})  # of a TIFF
        return _pixels(_eight_bit(ImageOps.exif_transpose(image), tags), size, channels)


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


def _pixels(image: Image.Image, size: tuple[int, int] | None, channels: int | None) -> np.ndarray:
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels or (1 if image.mode in _GRAY else 3)]
    if mode != "RGBA" and image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode != mode:
        image = image.convert(mode)
    if size is not None:
        image = ImageOps.fit(image, (size[1], size[0]), method=Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


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
