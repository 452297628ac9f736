"""``unstir report``: one page that holds all of a run, or several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unstir.cli import options
from unstir.cli.places import picture_place
from unstir.cli.report import Report
from unstir.files import write_new

PAGES = (".html", ".htm")


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run folders, such as runs/mnist, or .safetensors models."),
    ],
    out: Annotated[Path | None, typer.Option(help="Where to save it.", show_default="RUN/report.html")] = None,
    data: Annotated[
        str | None, typer.Option(help="Where the runs' images are now.", show_default="the runs' own")
    ] = None,
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Write one page with all that is known of a run: samples, findings, losses, metrics, its configuration.

    Several runs stand side by side. The page is one file without anything beside it, to be opened or sent as it
    is. What a model cannot show is left out, and the page says why.
    """
    from unstir.web.report.record import record

    records = [record(run) for run in runs]
    if data is not None:
        from unstir.data.sources import find
        from unstir.training.run_folder import data_of

        for run in runs:
            find(data_of(run, data).source)
    place = picture_place(out, runs[0], "report.html", PAGES)
    said = Report(as_json)

    from unstir.processes import processes
    from unstir.web.report.examined import examined
    from unstir.web.report.page import left_out, page

    found = []
    for one in records:
        said.say(f"Examining {one.run}")
        found.append((one, examined(one, data, seed, progress=said.speaks)))
    if not processes().is_main_process:
        return
    text = page(found)
    saved = write_new(place, lambda partial: partial.write_text(text, encoding="utf-8"))
    values = {
        "runs": [
            {
                "run": str(one.run),
                "healthy": seen.diagnosis.healthy if seen.diagnosis else None,
                "findings": [finding.values() for finding in seen.diagnosis.findings] if seen.diagnosis else [],
                "left_out": left_out(one, seen),
            }
            for one, seen in found
        ],
        "bytes": saved.stat().st_size,
        "out": str(saved),
    }
    said.end(f"The report is in {saved}", values)
