"""``unstir doctor``: why samples are poor, how it is known, and what to change."""

from __future__ import annotations

from typing import Annotated

import typer

from unstir.cli import options
from unstir.cli.report import Report


def doctor(
    run: options.RunPath,
    data: Annotated[
        str | None, typer.Option(help="Where the run's images are now.", show_default="the run's")
    ] = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Examine a run: its data, its file, its sampler, its network, its training; and say what to change.

    The first finding explains most. A run in which nothing is wrong is said to be healthy.
    """
    from unstir.models.file import read_config
    from unstir.training.run_folder import data_of

    read_config(run)
    data_of(run, data)
    report = Report(as_json)
    report.say(f"Examining {run}")

    from unstir.doctor.examine import examine
    from unstir.doctor.patient import Patient

    diagnosis = examine(Patient(run, data, seed), progress=True)
    values = {
        "run": str(run),
        "healthy": diagnosis.healthy,
        "findings": [finding.values() for finding in diagnosis.findings],
        "skipped": diagnosis.skipped,
    }
    for number, finding in enumerate(diagnosis.findings, start=1):
        if not as_json:
            report.say(f"\n{number}. {finding.what}")
            report.table(
                [
                    ("", "known by", finding.evidence),
                    ("", "remedy", finding.remedy),
                    ("", "effect", finding.effect),
                ]
            )
    for name in diagnosis.skipped:
        report.say(f"Not looked at, as the model cannot do what it takes: {name}")
    first = diagnosis.findings[0].what if diagnosis.findings else ""
    report.end("The run is healthy." if diagnosis.healthy else f"Above all: {first}", values)
