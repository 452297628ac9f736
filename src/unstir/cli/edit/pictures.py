"""The pictures and masks that a user gives to be edited, and what becomes of them. No torch at the top."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unstir.data.folder import IMAGE_SUFFIXES, JPEG_SUFFIXES
from unstir.errors import InputError
from unstir.files import write_new

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from unstir.models.config import ModelConfig
    from unstir.models.samples import Samples
    from unstir.models.systems import DenoiserConfig

ImagePath = Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture, of any kind and size.")]
OwnImagePath = Annotated[
    Path, typer.Argument(metavar="IMAGE", help="A picture with the channels of the model's images.")
]
Label = Annotated[
    str | None,
    typer.Option(help="The class that the picture shows, by name or number; or several with commas, in turn."),
]
Larger = Annotated[
    Literal["tiles", "resize"] | None,
    typer.Option(
        help="What to do with a picture of another size than the model's: work on it in overlapping tiles, or "
        "on a copy in the model's size, whose result is scaled back."
    ),
]


def endings(channels: int) -> list[str]:
    """Return how the names of files end that can hold pictures of so many channels."""
    return [ending for ending in IMAGE_SUFFIXES if channels < 4 or ending not in JPEG_SUFFIXES]


def check_channels(channels: int) -> None:
    """Check that a picture can have so many channels.

    Raises:
        InputError: If not.
    """
    if channels not in (1, 3, 4):
        raise InputError(f"The model's images have {channels} channels, which no picture has")


def read_image(path: Path, config: DenoiserConfig) -> np.ndarray:
    """Return a picture as uint8 (C, H, W), with the channels that the model's images have.

    Raises:
        InputError: If it cannot be read, or the model cannot take it.
    """
    pixels = read_any(path, config)
    config.check_takes(pixels.shape)
    return pixels


def read_any(path: Path, config: ModelConfig) -> np.ndarray:
    """Return a picture of any size as uint8 (C, H, W), with the channels that the model's images have.

    Raises:
        InputError: If it cannot be read, or no picture has so many channels.
    """
    from unstir.data.decode import decode_file

    channels = config.image_shape[0]
    check_channels(channels)
    return decode_file(path, channels)


def read_own(path: Path, config: ModelConfig) -> np.ndarray:
    """Return a picture with the channels of the model's images as uint8 (C, H, W), nothing that is seen changed.

    Raises:
        InputError: If it cannot be read, or has others.
    """
    from unstir.data.decode import decode_file

    channels = config.image_shape[0]
    check_channels(channels)
    pixels = decode_file(path, 4 if channels == 4 else None)
    if len(pixels) != channels:
        kinds = {1: "gray", 3: "in colour", 4: "transparent"}
        raise InputError(
            f"{path} is {kinds[len(pixels)]}, and the model's images are {kinds[channels]}: save it so first"
        )
    return pixels


def read_mask(path: Path, image: np.ndarray) -> np.ndarray:
    """Return where an image (C, H, W) is to be filled in, bool (H, W): white is true, black false.

    Raises:
        InputError: If it cannot be read, has another size, or other values than black and white.
    """
    from unstir.data.decode import decode_file

    pixels = decode_file(path, 1)[0]
    if pixels.shape != image.shape[1:]:
        theirs, ours = ("{1} by {0}".format(*shape) for shape in (pixels.shape, image.shape[1:]))
        raise InputError(
            f"The mask {path} is {theirs} pixels, and the picture is {ours}: they must be of one size"
        )
    odd = pixels[(pixels != 0) & (pixels != 255)]
    if len(odd):
        raise InputError(
            f"The mask {path} must be white where the picture is to be filled in and black elsewhere, and it has "
            f"pixels of {odd[0]}, neither 0 nor 255: save it as a PNG without soft edges"
        )
    return pixels == 255


def check_size(image: np.ndarray, config: ModelConfig, larger: str | None, scales: bool = True) -> None:
    """Check that a picture (C, H, W) is of the model's size, or that it was said what to do.

    Args:
        image: The picture.
        config: The model's.
        larger: What was said.
        scales: Whether a scaled copy may be worked on.

    Raises:
        InputError: If not.
    """
    _, height, width = config.image_shape
    theirs, ours = f"{image.shape[2]} by {image.shape[1]}", f"{width} by {height}"
    said = f"The picture is {theirs} pixels, and the model's images are {ours}"
    resize = ": ask for --larger resize" if scales else ""
    if (larger == "tiles" or not scales) and (image.shape[1] < height or image.shape[2] < width):
        raise InputError(f"{said}, which is too large for its tiles{resize}")
    if larger is None and image.shape[1:] != (height, width):
        other = ", or for --larger resize to work on a scaled copy" if scales else ""
        raise InputError(f"{said}: ask for --larger tiles{other}")


def as_images(pixels: np.ndarray) -> Tensor:
    """Return a picture, uint8 (C, H, W), as float32 (1, C, H, W) in [-1, 1]."""
    import torch

    return torch.tensor(pixels)[None] / 127.5 - 1


def scaled(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return images (N, C, H, W) in another height and width, by an antialiased bicubic filter."""
    from torch.nn.functional import interpolate

    return interpolate(images, size=size, mode="bicubic", antialias=True).clamp(-1, 1)


def save_row(results: Samples, place: Path) -> Path:
    """Save results pixel for pixel, side by side, and return where."""
    import torch

    from unstir.models.samples import Samples

    return write_new(place, Samples(torch.cat([*results.tensor], dim=-1)[None]).picture(0).save)


def told_cost(what: str, evaluations: int, n: int, gradients: bool) -> str:
    """Return a sentence that says what an edit will cost."""
    each = f"{evaluations} evaluation{'s' * (evaluations != 1)} of the network"
    slow = ", with gradients, at about five times the cost" if gradients else ""
    return f"{what}: {each}{slow}" + (f", for each of {n} results." if n > 1 else ".")
