"""``unstir edit``: what a model does with an image that the user gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unstir.cli import options
from unstir.cli.places import picture_place
from unstir.cli.report import Report
from unstir.data.folder import IMAGE_SUFFIXES, JPEG_SUFFIXES
from unstir.errors import InputError
from unstir.files import write_new

if TYPE_CHECKING:
    import numpy as np

    from unstir.models.systems import DenoiserConfig

edit = typer.Typer(name="edit", help="Change an image of yours with a trained model.")

ImagePath = Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture, of any kind and size.")]


@edit.command(epilog="Example: unstir edit clean runs/mnist-dae noisy.png --out cleaned.png")
def clean(
    run: options.RunPath,
    image: ImagePath,
    sigma: Annotated[
        float | None,
        typer.Option(
            help="The standard deviation of the image's Gaussian noise, where black is 0 and white 255; "
            "not for a denoising autoencoder, which knows one corruption alone."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The cleaned picture, such as x.png.", show_default="RUN/edits/IMAGE-cleaned.png"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Remove an image's noise.

    A denoising autoencoder removes the corruption it was trained on, a diffusion model Gaussian noise of --sigma.
    """
    from unstir.models.file import read_config

    _, config = read_config(run)
    config.require("clean")
    config.hideable("Cleaning")
    scaled = None if sigma is None else sigma / 127.5
    config.check_sigma(scaled)
    pixels = read_image(image, config)
    endings = [ending for ending in IMAGE_SUFFIXES if len(pixels) < 4 or ending not in JPEG_SUFFIXES]
    place = picture_place(out, run, f"edits/{image.stem}-cleaned.png", endings)

    import torch

    from unstir.models.file import load

    x = torch.tensor(pixels)[None] / 127.5 - 1
    cleaned = load(run).clean(x, scaled, progress=True)
    place = write_new(place, cleaned.picture(0).save)
    values = {"run": str(run), "image": str(image), "out": str(place), "shape": list(pixels.shape), "sigma": sigma}
    Report(as_json).end(f"The cleaned image is in {place}", values)


def read_image(path: Path, config: DenoiserConfig) -> np.ndarray:
    """Return a picture as uint8 (C, H, W), with the channels that the model's images have.

    Raises:
        InputError: If it cannot be read, or the model cannot take it.
    """
    from unstir.data.decode import decode_file

    channels = config.samples.shape[0]
    if channels not in (1, 3, 4):
        raise InputError(f"The model's images have {channels} channels, which no picture has")
    pixels = decode_file(path, channels)
    config.check_takes(pixels.shape)
    return pixels
