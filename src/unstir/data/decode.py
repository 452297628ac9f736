"""One encoded image to uint8 (C, H, W): orientation, depth, transparency, channels, size. Pillow does the work.

Sixteen bits become eight by v / 257, rounded, so that 65535 becomes 255. (Pillow itself reads 16-bit *colour*
at its upper eight bits, which differs by at most 1.) Transparent pixels are laid over white. An image is scaled
with an antialiased bicubic filter so that it just covers the wanted size, and its centre is cut out, in one
resampling.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from unstir.errors import InputError

Encoded = Path | bytes | np.ndarray

_GRAY = ("1", "L", "LA", "I")  # and all 16-bit modes, which begin with "I;16"


def decode(encoded: Encoded, size: tuple[int, int] | None, channels: int | None) -> np.ndarray:
    """Decode one image.

    Args:
        encoded: a file, the bytes of one, or pixels already decoded: uint8 (C, H, W).
        size: (H, W) to scale and centre-crop to; None leaves the size.
        channels: 1, 3 or 4; None: 1 if the image is stored as gray, otherwise 3, and arrays as they are.

    Returns:
        uint8 (C, H, W), contiguous.

    Raises:
        Exception: whatever Pillow raises on a damaged image, which may be nearly anything.
    """
    if isinstance(encoded, np.ndarray):
        if size in (None, encoded.shape[1:]) and channels in (None, len(encoded)):
            return encoded
        # A single axis of channels has no mode in Pillow: (1, H, W) is taken as (H, W).
        image = Image.fromarray(encoded[0] if len(encoded) == 1 else encoded.transpose(1, 2, 0))
        return _pixels(image, size, channels or len(encoded))
    with Image.open(BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as image:
        image.load()
        return _pixels(ImageOps.exif_transpose(image), size, channels)


def decode_file(path: Path, channels: int | None = None) -> np.ndarray:
    """Decode an image that a user names, in its own size: see :func:`decode`.

    Raises:
        InputError: If it is not there, or cannot be read as an image.
    """
    if not path.exists():
        raise InputError(f"There is no image at {path}")
    try:
        return decode(path, None, channels)
    except Exception as error:  # of a damaged image Pillow raises nearly anything
        raise InputError(f"{path} cannot be read as an image: {error}") from None


def _pixels(image: Image.Image, size: tuple[int, int] | None, channels: int | None) -> np.ndarray:
    gray = image.mode in _GRAY or image.mode.startswith("I;16")
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels or (1 if gray else 3)]
    image = _eight_bit(image)
    if mode != "RGBA" and image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode != mode:
        image = image.convert(mode)
    if size is not None:
        image = ImageOps.fit(image, (size[1], size[0]), method=Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; store them in 8 or 16 bits")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its pixels have more than 16 bits; store them in 8 or 16")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
