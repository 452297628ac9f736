"""``unstir compare``: a table of what samples are worth, by sampler, eta and steps.

The row of the DDIM paper's table with the larger noise, sigma-hat, is the sampler ddpm with the variance large.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from unstir.cli import options
from unstir.cli.places import default_place
from unstir.cli.report import Report
from unstir.errors import InputError
from unstir.files import write_new

Number = TypeVar("Number", int, float)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs on the same images.")],
    steps: Annotated[str, typer.Option(help="The columns, with commas.")] = "10,20,50",
    sampler: Annotated[str, typer.Option(help="The rows' samplers, with commas; see unstir samplers.")] = "ddim",
    eta: Annotated[
        str | None, typer.Option(help="A row for each, of samplers that take it.", show_default="the sampler's")
    ] = None,
    variance: Annotated[
        str | None,
        typer.Option(
            help="A row of ddpm for each: small, large, learned. DDIM's sigma-hat is large.", show_default="none"
        ),
    ] = None,
    metric: Annotated[str, typer.Option(help="What is measured; see unstir evaluate.")] = "fcd",
    n: Annotated[
        int, typer.Option("-n", metavar="N", min=2, max=options.MOST, help="Images in each cell.")
    ] = 1000,
    seed: options.Seed = 0,
    batch: options.Batch = 250,
    against: options.Against = "held-out",
    as_json: options.Json = False,
) -> None:
    """Draw from runs in several ways and numbers of steps, measure each, and lay it out as a table.

    All cells have the same seeds, and each is kept in its run's folder: the same command again goes on, and a
    larger table takes over what is known. The table is saved as .csv, and beside it as .png.
    """
    from unstir.evaluation.comparison import ways
    from unstir.evaluation.metrics import AGAINST, OF_SAMPLES, check, check_against
    from unstir.models.file import read_config
    from unstir.tensors import read_about
    from unstir.training.run_folder import data_of

    check([metric])
    check_against(against)
    if metric not in OF_SAMPLES:
        raise InputError(f"The metric {metric} is not of drawn images: ask unstir evaluate for it")
    columns = _numbers(steps, int, "steps")
    names = [name.strip() for name in sampler.split(",")]
    variances = [] if variance is None else [one.strip() for one in variance.split(",")]
    if variances and not any("ddpm" in name for name in names):
        names.append("ddpm")
    found = ways(names, [] if eta is None else _numbers(eta, float, "eta"), variances)
    opened = []
    for run in runs:
        weights, config = read_config(run)
        config.require("draw")
        for way in found:
            for count in columns:
                config.drawing({**way.options, "steps": count})
        opened.append((run, weights, data_of(run)))
    if any(source != opened[0][2] for _, _, source in opened):
        raise InputError("Runs are compared that were trained on the same images, and these were not")
    place = default_place(runs[0], "evaluations/comparison.csv")
    report = Report(as_json)

    from unstir.data.load import load as load_images
    from unstir.evaluation.comparison import Cell, csv, kept, measured, place_of, plot, rows
    from unstir.models.file import load
    from unstir.processes import processes

    splits, cells = load_images(opened[0][2]), list[Cell]()
    for run, weights, _ in opened:
        model, mark = None, read_about(weights).hash
        folder = weights.parent
        for way in found:
            for count in columns:
                where = place_of(folder, mark, way, count, metric, n, seed, against)
                cell = kept(where)
                if cell is None:
                    report.say(f"Drawing {n:,} images from {run} by {way.name} in {count} steps")
                    model = model or load(run)
                    cell = measured(str(run), model, splits, way, count, metric, n, seed, batch, where, against)
                cells.append(replace(cell, run=str(run)))  # which may have been moved since
    if not processes().is_main_process:
        return
    saved = write_new(place, lambda whole: whole.write_text(csv(cells)))
    write_new(saved.with_suffix(".png"), partial(plot(cells).savefig, format="png"))
    real = cells[0].real
    report.say(
        f"{metric} against {AGAINST[against]} images, by steps"
        + ("" if real is None else f"; as many real images have {real:.3g}")
    )
    report.table(rows(cells, "value"))
    report.say("seconds an image")
    report.table(rows(cells, "seconds"))
    values = {"cells": [asdict(cell) for cell in cells], "saved": str(saved)}
    report.end(f"The table is in {saved}, and as a picture beside it", values)


def _numbers(text: str, kind: type[Number], name: str) -> list[Number]:
    """Return numbers with commas between them.

    Raises:
        InputError: If they are none.
    """
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--{name} is numbers with commas, such as 10,20,50, not '{text}'") from None
