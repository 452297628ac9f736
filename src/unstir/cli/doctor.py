"""``unstir doctor``: why samples are poor, how it is known, and what to change."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unstir.cli import options
from unstir.cli.report import Report
from unstir.files import is_held, whole_file
from unstir.quantities import duration

if TYPE_CHECKING:
    from unstir.doctor.finding import Finding

PAUSE = 2.0
"""Seconds between two looks at whether a training has saved anything new."""


def doctor(
    run: options.RunPath,
    data: Annotated[
        str | None, typer.Option(help="Where the run's images are now.", show_default="the run's")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look at a training again whenever it saves, until it ends.")
    ] = False,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Examine a run: its data, its file, its sampler, its network, its training; and say what to change.

    The first finding explains most. A run in which nothing is wrong is said to be healthy. Pictures of what was
    found are in RUN/figures/doctor.
    """
    from unstir.models.file import read_config
    from unstir.training.run_folder import data_of

    report = Report(as_json)
    if watch:
        _watch(run, data, seed, report)
    read_config(run)
    data_of(run, data)
    report.say(f"Examining {run}")

    from unstir.doctor.examine import examine
    from unstir.doctor.patient import Patient

    diagnosis = examine(Patient(run, data, seed), progress=True)
    pictures = save_pictures(run, diagnosis.findings)
    values = {
        "run": str(run),
        "healthy": diagnosis.healthy,
        "findings": [
            finding.values() | {"picture": pictures.get(finding.cause)} for finding in diagnosis.findings
        ],
        "skipped": diagnosis.skipped,
    }
    for number, finding in enumerate(diagnosis.findings, start=1):
        if not as_json:
            report.say(f"\n{number}. {finding.what}")
            shown = pictures.get(finding.cause)
            report.table(
                [
                    ("", "known by", finding.evidence),
                    ("", "remedy", finding.remedy),
                    ("", "effect", finding.effect),
                    *([("", "picture", shown)] if shown else []),
                ]
            )
    for name in diagnosis.skipped:
        report.say(f"Not looked at, as the model cannot do what it takes: {name}")
    first = diagnosis.findings[0].what if diagnosis.findings else ""
    report.end("The run is healthy." if diagnosis.healthy else f"Above all: {first}", values)


def save_pictures(run: Path, findings: list[Finding]) -> dict[str, str]:
    """Save what findings draw, in place of what earlier ones drew; return where, by their causes."""
    place, saved = run / "figures" / "doctor", dict[str, str]()
    if not run.is_dir() or not os.access(run, os.W_OK):
        return saved
    drawn: dict[str, Any] = {finding.cause: finding.picture for finding in findings if finding.picture}
    for cause, draw in drawn.items():
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"{cause.replace(' ', '-')}.png"
        with whole_file(path) as whole:
            draw().savefig(whole, format="png")
        saved[cause] = str(path)
    return saved


def _watch(run: Path, data: str | None, seed: int, report: Report) -> None:
    """Say at each save of a training what a first look finds, until no one trains in the folder any more."""
    from unstir.training.checkpoint import newest_checkpoint
    from unstir.training.run_folder import RunFolder

    folder, seen = RunFolder(run), None
    while is_held(run):
        found = newest_checkpoint(folder)  # which is saved after its model
        if found is None or found[0] == seen:
            time.sleep(PAUSE)
            continue
        seen = found[0]

        from unstir.doctor.examine import examine
        from unstir.doctor.patient import Patient

        at = found[1]
        words = examine(Patient(run, data, seed, brief=True)).words
        report.say(f"{at.images:,} images, {duration(at.elapsed)}: {words}")
    report.say("No training is going on there: this is all of it")
