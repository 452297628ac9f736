"""``unstir edit deblur``: makes a blurred picture sharp."""

from __future__ import annotations

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
    label: pictures.Label = None,
    larger: pictures.Larger = None,
    *,
    asked: dict[str, Any],
    steering: dict[str, Any],
    results: dict[str, Any],
    batch: options.Batch = 16,
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
    n, seed = results["n"], results["seed"]
    told = telling(run, config, asked, label, n, steering)
    sampling = told.steering.settings
    pictures.check_size(pixels, config, larger, scales=False)
    place = picture_place(results["out"], run, f"edits/{image.stem}-sharp.png", pictures.endings(len(pixels)))

    from unstir.models.file import load

    report = Report(results["as_json"])
    report.say(pictures.told_cost(f"Sharpening: {sampling.steps} steps", sampling.evaluations, n, True))
    how = {**told.arguments(), "seed": seed, "batch": batch, "progress": True, **asked}
    drawn = load(run).deblur(pictures.as_images(pixels), sigma, n, **how)
    place = pictures.save_row(drawn, place)
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
