"""``unstir edit clean``: takes the noise out of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unstir.cli import options
from unstir.cli.edit.pictures import ImagePath, endings, read_image
from unstir.cli.places import picture_place
from unstir.cli.report import Report
from unstir.files import write_new


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
    place = picture_place(out, run, f"edits/{image.stem}-cleaned.png", endings(len(pixels)))

    import torch

    from unstir.models.file import load

    x = torch.tensor(pixels)[None] / 127.5 - 1
    cleaned = load(run).clean(x, scaled, progress=True)
    place = write_new(place, cleaned.picture(0).save)
    values = {"run": str(run), "image": str(image), "out": str(place), "shape": list(pixels.shape), "sigma": sigma}
    Report(as_json).end(f"The cleaned image is in {place}", values)
