"""``unstir edit``: what a model does with an image that the user gives."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unstir.cli import options
from unstir.cli.places import check_picture, check_writable, results_folder, unused
from unstir.cli.report import Report
from unstir.data.folder import IMAGE_SUFFIXES
from unstir.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from unstir.training.config import Config

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
    from unstir.training.folder import model_file

    _, config = model_file(run)
    if config.diffusion.one_level and sigma is not None:
        raise InputError(
            f"{run} is a denoising autoencoder and knows one corruption alone "
            f"({config.diffusion.corruption}): leave --sigma out"
        )
    if not config.diffusion.one_level and (sigma is None or not sigma > 0):
        raise InputError(f"{run} knows many levels of noise: say how noisy the image is, such as --sigma 25")
    pixels = read_image(image, config)
    place = _place(run, image, out, len(pixels))

    import torch

    from unstir.training.folder import whole_file
    from unstir.training.run import load

    x = torch.tensor(pixels)[None] / 127.5 - 1
    cleaned = load(run).clean(x, None if sigma is None else sigma / 127.5, progress=sys.stderr.isatty())
    with whole_file(place) as partial:
        cleaned.picture(0).save(partial)
    channels, height, width = pixels.shape
    values = {
        "run": str(run),
        "image": str(image),
        "out": str(place),
        "shape": [channels, height, width],
        "sigma": sigma,
    }
    Report(as_json).end(f"The cleaned image is in {place}", values)


def read_image(path: Path, config: Config) -> np.ndarray:
    """Return a picture as uint8 (C, H, W), with the channels that the model's images have.

    Raises:
        InputError: If it cannot be read, or the model cannot take it.
    """
    from unstir.data.decode import decode
    from unstir.training.request import check_takes

    assert config.images is not None
    channels = config.images.shape[0]
    if channels not in (1, 3, 4):
        raise InputError(f"The model's images have {channels} channels, which no picture has")
    if not path.exists():
        raise InputError(f"There is no image at {path}")
    try:
        pixels = decode(path, None, channels)
    except Exception as error:  # of a damaged image Pillow raises nearly anything
        raise InputError(f"{path} cannot be read as an image: {error}") from None
    check_takes(config, (channels, pixels.shape[1], pixels.shape[2]))
    return pixels


def _place(run: Path, image: Path, out: Path | None, channels: int) -> Path:
    if out is None:
        place = unused(results_folder(run) / "edits" / f"{image.stem}-cleaned.png")
        check_writable(place)
        return place
    if channels == 4 and out.suffix.lower() in (".jpg", ".jpeg"):
        raise InputError(f"--out {out} cannot hold transparent images; name a .png")
    return check_picture(out, IMAGE_SUFFIXES)
