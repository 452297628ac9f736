"""``unstir edit deblur``: makes a blurred picture sharp."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unstir.cli import options
from unstir.cli.edit import pictures
from unstir.cli.edit.telling import telling
from unstir.cli.places import picture_place
from unstir.cli.report import Report
from unstir.errors import InputError


@options.with_drawing
def deblur(
    run: options.RunPath,
    image: pictures.OwnImagePath,
    sigma: Annotated[float, typer.Option(help="The standard deviation of the Gaussian blur, in pixels.")],
    n: pictures.Count = 1,
    label: pictures.Label = None,
    larger: pictures.Larger = None,
    *,
    asked: dict[str, Any],
    steering: dict[str, Any],
    seed: options.Seed = 0,
    batch: options.Batch = 16,
    out: Annotated[
        Path | None,
        typer.Option(help="The picture of the results, such as x.png.", show_default="RUN/edits/IMAGE-sharp.png"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Draw sharp pictures whose blur is the one that is given.

    The model's predictions are pulled, by gradients, to what looks the same when it is blurred.
    """
    from unstir.models.file import read_config

    _, config = read_config(run)
    config.require("inpaint")
    if not 0 < sigma <= 1000:
        raise InputError(f"--sigma is above 0 pixels and at most 1000, not {sigma:g}")
    if larger == "resize":
        raise InputError("--larger resize would change the blur: ask for --larger tiles")
    pixels = pictures.read_own(image, config)
    told = telling(run, config, asked, label, n, steering)
    sampling = told.steering.settings
    pictures.check_size(pixels, config, larger, scales=False)
    place = picture_place(out, run, f"edits/{image.stem}-sharp.png", pictures.endings(len(pixels)))

    from unstir.models.file import load

    report = Report(as_json)
    report.say(pictures.told_cost(f"Sharpening: {sampling.steps} steps", sampling.evaluations, n, True))
    how = {**told.arguments(), "seed": seed, "batch": batch, "progress": True, **asked}
    results = load(run).deblur(pictures.as_images(pixels), sigma, n, **how)
    place = pictures.save_row(results, place)
    values = {
        "run": str(run),
        "image": str(image),
        "out": str(place),
        "sigma": sigma,
        "n": n,
        "seed": seed,
        "evaluations": sampling.evaluations,
        **told.values(),
    }
    report.end(f"The sharpened {'picture is' if n == 1 else f'{n} pictures are'} in {place}", values)
