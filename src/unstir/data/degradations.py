"""Degraded pictures, of which a model is told in order to restore them: Palette (Saharia et al. 2022).

Each degradation makes of an image pixels y and the mask m of those that are hidden. What is told of the image is a
picture of one channel more than it has,

    told = (1 - m) y,  m

The hidden pixels are 0, mid-gray, where Palette puts noise: its networks see no mask, and noise is what tells them
where to paint. Here m tells it, and what is told of an image is as certain as the image.

All that is random comes from a generator that is made anew for each image and each pass over the data, so it is
the same for whoever asks, in whatever order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw

from unstir.errors import InputError
from unstir.networks.told import DEGRADED, TASK

QUALITIES = (5, 30)
"""The least and the greatest of JPEG."""

FACTORS = (2, 4)
SIDES = ("left", "right", "top", "bottom", "all")

Degraded = tuple[np.ndarray, np.ndarray]
"""uint8 (C, H, W), and bool (H, W), true where a pixel is hidden."""


@dataclass(frozen=True)
class Degradation:
    """One way to degrade an image.

    Attributes:
        about: What it does, in a line.
        apply: From pixels, uint8 (C, H, W), and a generator.
        channels: Those that the images may have; None for any.
    """

    about: str
    apply: Callable[[np.ndarray, np.random.Generator], Degraded]
    channels: tuple[int, ...] | None = None


def grayed(pixels: np.ndarray) -> np.ndarray:
    """Return colour pixels (3, H, W) as gray in three channels: luma by Rec. 601, rounded."""
    luma = np.tensordot(np.array([0.299, 0.587, 0.114]), pixels, 1)
    return np.broadcast_to(luma.round().astype(np.uint8), pixels.shape)


def compressed(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Return pixels (1 or 3, H, W) as JPEG keeps them."""
    file = BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(
        file, "JPEG", quality=quality
    )
    with Image.open(file) as image:
        found = np.asarray(image)
    return found[None] if found.ndim == 2 else found.transpose(2, 0, 1)


def resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return pixels (C, h, w) as (C, height, width): bicubic, antialiased where it shrinks."""
    channels = [Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC) for one in pixels]
    return np.stack([np.asarray(one) for one in channels])


def beyond(height: int, width: int, side: str) -> np.ndarray:
    """Return the mask (H, W) of uncropping, half of the area: a side, or ``all`` around the middle.

    Where a side is odd the known part has the pixel more.
    """
    hidden = np.ones((height, width), dtype=bool)
    (top, known_height), (left, known_width) = _known(height, side, "top"), _known(width, side, "left")
    hidden[top : top + known_height, left : left + known_width] = False
    return hidden


def canvas(height: int, width: int, side: str) -> tuple[int, int]:
    """Return the height and the width on which :func:`beyond` leaves just ``height`` by ``width`` pixels known."""
    if side == "all":
        # The least of the one or two that fit: round(round(n sqrt 2) / sqrt 2) = n.
        return round(height * 2**0.5), round(width * 2**0.5)
    return (height, 2 * width) if side in ("left", "right") else (2 * height, width)


def strokes(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """Return a free-form mask (H, W): one to four strokes of a brush, each of a few turns (Yu et al. 2019)."""
    image = Image.new("1", (width, height))
    brush, side = ImageDraw.Draw(image), min(height, width)
    for _ in range(generator.integers(1, 5)):
        thick = max(1, round(side * generator.uniform(0.08, 0.2)))
        x, y, angle = generator.uniform(0, width), generator.uniform(0, height), generator.uniform(0, 2 * np.pi)
        points = [(x, y)]
        for _ in range(generator.integers(1, 5)):
            angle += generator.uniform(-1.2, 1.2)
            length = side * generator.uniform(0.15, 0.5)
            x = float(np.clip(x + length * np.cos(angle), 0, width - 1))
            y = float(np.clip(y + length * np.sin(angle), 0, height - 1))
            points.append((x, y))
        brush.line(points, fill=1, width=thick, joint="curve")
        for x, y in points:
            brush.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=1)
    return np.array(image)


def box(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """Return the mask (H, W) of a box with sides of a quarter to two thirds of the image's."""
    hidden = np.zeros((height, width), dtype=bool)
    h, w = (max(1, round(side * generator.uniform(1 / 4, 2 / 3))) for side in (height, width))
    top, left = generator.integers(height - h + 1), generator.integers(width - w + 1)
    hidden[top : top + h, left : left + w] = True
    return hidden


def _known(length: int, side: str, first: str) -> tuple[int, int]:
    """Return where the known part begins along a side, and its length."""
    if side == "all":
        known = round(length / 2**0.5)
        return (length - known) // 2, known
    if side not in (first, {"top": "bottom", "left": "right"}[first]):
        return 0, length
    known = length - length // 2
    return (length - known if side == first else 0), known


def _colorization(pixels: np.ndarray, generator: np.random.Generator) -> Degraded:
    return grayed(pixels), _nothing(pixels)


def _inpainting(pixels: np.ndarray, generator: np.random.Generator) -> Degraded:
    mask = box if generator.random() < 0.5 else strokes
    return pixels, mask(*pixels.shape[1:], generator)


def _uncropping(pixels: np.ndarray, generator: np.random.Generator) -> Degraded:
    return pixels, beyond(*pixels.shape[1:], SIDES[generator.integers(len(SIDES))])


def _jpeg(pixels: np.ndarray, generator: np.random.Generator) -> Degraded:
    least, greatest = QUALITIES
    return compressed(pixels, int(generator.integers(least, greatest + 1))), _nothing(pixels)


def _super_resolution(pixels: np.ndarray, generator: np.random.Generator) -> Degraded:
    factor = FACTORS[generator.integers(len(FACTORS))]
    height, width = pixels.shape[1:]
    small = resized(pixels, max(1, round(height / factor)), max(1, round(width / factor)))
    return resized(small, height, width), _nothing(pixels)


def _nothing(pixels: np.ndarray) -> np.ndarray:
    return np.zeros(pixels.shape[1:], dtype=bool)


DEGRADATIONS = {
    "colorization": Degradation("the colours are taken away", _colorization, (3,)),
    "inpainting": Degradation("strokes or a box are hidden", _inpainting),
    "uncropping": Degradation("half of the area is hidden, on one side or all around", _uncropping),
    "jpeg": Degradation("compressed by JPEG at a quality of 5 to 30", _jpeg, (1, 3)),
    "super-resolution": Degradation("2 or 4 times smaller, and enlarged again", _super_resolution),
}
"""The degradations by name, which are those that :class:`unstir.data.config.DataConfig` knows."""


def check(names: Sequence[str], channels: int, columns: Iterable[str]) -> None:
    """Check that images of so many channels can be degraded in these ways, and told of beside these columns.

    Raises:
        InputError: If not.
    """
    for name in names:
        takes = DEGRADATIONS[name].channels
        if takes is not None and channels not in takes:
            needed = " or ".join(map(str, takes))
            raise InputError(
                f"the degradation '{name}' needs images of {needed} channels, and these have {channels}; set "
                "data.channels, or leave it out of data.degradations"
            )
    taken = {DEGRADED, TASK} & {*columns}
    if names and taken:
        raise InputError(
            f"the images have a column '{min(taken)}' of their own, and degradations add one of that name: "
            "rename it"
        )


def degraded(
    pixels: np.ndarray, indices: np.ndarray, passes: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Degrade each image in one of some ways, at random.

    Args:
        pixels: uint8 (B, C, H, W).
        indices: int (B,), each image's place in its set.
        passes: int (B,), the pass over the set that it is met in, from 0 on.
        names: Of the degradations.

    Returns:
        What is told, float32 (B, C + 1, H, W) in [-1, 1], the last channel 1 where a pixel is hidden and else 0;
        and the number of each image's degradation among ``names``, int64 (B,).
    """
    count, channels, height, width = pixels.shape
    told, task = np.empty((count, channels + 1, height, width), dtype=np.float32), np.empty(count, dtype=np.int64)
    for i, image in enumerate(pixels):
        generator = np.random.default_rng([int(indices[i]), int(passes[i])])
        task[i] = generator.integers(len(names))
        seen, hidden = DEGRADATIONS[names[task[i]]].apply(image, generator)
        told[i, :-1] = np.where(hidden, np.float32(0), np.divide(seen, np.float32(127.5), dtype=np.float32) - 1)
        told[i, -1] = hidden
    return told, task
