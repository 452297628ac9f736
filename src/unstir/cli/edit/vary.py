"""``unstir edit vary``: pictures like one that is given."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unstir.cli import options
from unstir.cli.edit import pictures
from unstir.cli.edit.telling import telling
from unstir.cli.places import picture_place
from unstir.cli.report import Report


@options.with_drawing
def vary(
    run: options.RunPath,
    image: pictures.OwnImagePath,
    strength: Annotated[
        float, typer.Option(min=0, max=1, help="From 0, the picture itself, to 1, drawn from nothing of it.")
    ] = 0.6,
    n: pictures.Count = 1,
    label: pictures.Label = None,
    larger: pictures.Larger = None,
    *,
    asked: dict[str, Any],
    steering: dict[str, Any],
    seed: options.Seed = 0,
    batch: options.Batch = 64,
    out: Annotated[
        Path | None,
        typer.Option(help="The picture of the results, such as x.png.", show_default="RUN/edits/IMAGE-varied.png"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Draw pictures like one of yours: it is noised, and the model takes the noise away.

    --strength says how much: the share of the steps that are walked.
    """
    from unstir.models.file import read_config

    _, config = read_config(run)
    config.require("inpaint")
    pixels = pictures.read_own(image, config)
    told = telling(run, config, asked, label, n, steering)
    sampling = told.steering.settings
    pictures.check_size(pixels, config, larger)
    place = picture_place(out, run, f"edits/{image.stem}-varied.png", pictures.endings(len(pixels)))

    from unstir.models.editing import walked_steps
    from unstir.models.file import load
    from unstir.models.samples import Samples

    walked = walked_steps(strength, sampling.steps)
    evaluations = sampling.sampler.evaluations(walked) if walked else 0
    report = Report(as_json)
    report.say(pictures.told_cost(f"Varying: the last {walked} of {sampling.steps} steps", evaluations, n, False))
    how = {**told.arguments(), "seed": seed, "batch": batch, "progress": True, **asked}
    x = pictures.as_images(pixels)
    own = pictures.scaled(x, config.samples.shape[1:]) if larger == "resize" else x
    results = load(run).vary(own, strength, n, **how)
    if larger == "resize":
        results = Samples(pictures.scaled(results.tensor, x.shape[2:]))
    place = pictures.save_row(results, place)
    values = {
        "run": str(run),
        "image": str(image),
        "out": str(place),
        "strength": strength,
        "n": n,
        "seed": seed,
        "evaluations": evaluations,
        **told.values(),
    }
    report.end(f"The {'variation is' if n == 1 else f'{n} variations are'} in {place}", values)
