"""``unstir edit vary``: pictures like one that is given."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from unstir.cli import options
from unstir.cli.edit import pictures
from unstir.cli.edit.meaning import alike, morphs
from unstir.cli.edit.telling import telling
from unstir.cli.places import picture_place
from unstir.cli.report import Report

STRENGTH = 0.6


@options.with_drawing
def vary(
    run: options.RunPath,
    image: pictures.OwnImagePath,
    strength: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="From 0, the picture itself, to 1, drawn from nothing of it.", show_default="0.6"
        ),
    ] = None,
    label: pictures.Label = None,
    larger: pictures.Larger = None,
    *,
    asked: dict[str, Any],
    steering: dict[str, Any],
    results: dict[str, Any],
    batch: options.Batch = 64,
) -> None:
    """Draw pictures like one of yours: it is noised, and the model takes the noise away.

    --strength says how much: the share of the steps that are walked. A diffusion autoencoder draws what means the
    same from other noise instead.
    """
    from unstir.models.file import read_config

    _, config = read_config(run)
    if morphs(config):
        others = {"strength": strength, "label": label, "larger": larger, **steering}
        alike(run, image, asked, results, batch, others)
        return
    config.require("inpaint")
    strength = STRENGTH if strength is None else strength
    pixels = pictures.read_own(image, config)
    n, seed = results["n"], results["seed"]
    told = telling(run, config, asked, label, n, steering)
    sampling = told.steering.settings
    pictures.check_size(pixels, config, larger)
    place = picture_place(results["out"], run, f"edits/{image.stem}-varied.png", pictures.endings(len(pixels)))

    from unstir.models.editing import walked_steps
    from unstir.models.file import load
    from unstir.models.samples import Samples

    walked = walked_steps(strength, sampling.steps)
    evaluations = sampling.sampler.evaluations(walked) if walked else 0
    report = Report(results["as_json"])
    report.say(pictures.told_cost(f"Varying: the last {walked} of {sampling.steps} steps", evaluations, n, False))
    how = {**told.arguments(), "seed": seed, "batch": batch, "progress": True, **asked}
    x = pictures.as_images(pixels)
    own = pictures.scaled(x, config.image_shape[1:]) if larger == "resize" else x
    drawn = load(run).vary(own, strength, n, **how)
    if larger == "resize":
        drawn = Samples(pictures.scaled(drawn.tensor, x.shape[2:]))
    place = pictures.save_row(drawn, place)
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
