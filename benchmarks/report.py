"""The one table, and the file it is kept in."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.machine import slug
from unstir.files import write_new

BUSY = 0.1
"""Cores used by others, on average, above which the figures are not to be trusted."""


def summary(seconds: list[float]) -> dict[str, Any]:
    """Return the median of the rounds' seconds, their ends, and all of them."""
    return {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds), "rounds": seconds}


def save(report: dict[str, Any], folder: Path) -> Path:
    """Write the report under the machine's name and day, numbered if there is one, and return the file."""
    text = json.dumps(report, indent=1) + "\n"
    return write_new(folder / f"{slug(report['machine'])}.json", lambda partial: partial.write_text(text))


def show(report: dict[str, Any], console: Console) -> None:
    """Print the table, and under it the floor and the input pipeline."""
    machine = report["machine"]
    where = machine["gpu"] or f"{machine['processor']}, {machine['cores']} cores"
    title = f"{where}, {machine['threads']} threads; medians of {report['rounds']} rounds (fastest to slowest)"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for heading in ("network", "contender"):
        table.add_column(heading, no_wrap=True)
    for heading in (
        "M parameters",
        "GFLOP a step",
        "seconds a step",
        "images/s",
        "GFLOP/s",
        "against unstir",
        "sampling images/s",
        "peak GB",
    ):
        table.add_column(heading, justify="right")
    for workload in report["workloads"]:
        for row in workload["contenders"]:
            table.add_row(*_cells(workload, row))
        floor = workload["floor"]
        if floor:
            gflops = floor["flops"] / floor["seconds"] / 1e9
            of = f"{floor['seconds']:.3f}"
            table.add_row(
                workload["name"], "floor", "", f"{floor['flops'] / 1e9:,.0f}", of, "", f"{gflops:,.0f}", "", "", ""
            )
        table.add_section()
    console.print(table)
    for workload in report["workloads"]:
        for line in _notes(workload):
            console.print(line, highlight=False)
    if (machine["cores_used_by_others"] or 0) > BUSY:
        others = machine["cores_used_by_others"]
        console.print(
            f"Others used {others:g} cores meanwhile: run this again on a machine that does nothing else."
        )


def _cells(workload: dict[str, Any], row: dict[str, Any]) -> list[str]:
    step, sample = row["step"], row["sample"]
    unstir = _unstirs_step(workload)
    sampling = f"{workload['sample_batch'] / sample['median']:.2f}" if sample else ""
    return [
        workload["name"],
        row["contender"],
        f"{row['parameters'] / 1e6:.1f}",
        f"{row['flops'] / 1e9:,.0f}",
        f"{step['median']:.3f} ({step['min']:.3f} to {step['max']:.3f})",
        f"{workload['batch'] / step['median']:.1f}",
        f"{row['flops'] / step['median'] / 1e9:,.0f}",
        f"{step['median'] / unstir['median']:.2f}" if unstir else "",
        sampling,
        f"{row['peak_bytes'] / 1e9:.2f}",
    ]


def _notes(workload: dict[str, Any]) -> list[str]:
    """Return what the best modes chose, and what is to be said of unstir alone."""
    floor, pipeline = workload["floor"], workload["pipeline"]
    notes = [
        f"{workload['name']}: {row['contender']} trains {_layout(row['mode'])} and draws "
        f"{_layout(row['sampling_mode'])}."
        for row in workload["contenders"]
        if row["mode"]["tuned"]
    ]
    step = _unstirs_step(workload)
    if not step:
        return notes
    made, used = pipeline["images"] / pipeline["seconds"], workload["batch"] / step["median"]
    return [
        *notes,
        f"{workload['name']}: unstir's fastest step takes {step['min'] / floor['seconds']:.2f} times its floor (a "
        f"step's {floor['products']} convolutions and matrix products alone); the input pipeline makes "
        f"{made:,.0f} images/s, and the network takes {used:,.1f}.",
    ]


def _unstirs_step(workload: dict[str, Any]) -> dict[str, Any] | None:
    """Return the seconds of unstir's steps, which the others are measured against."""
    return next((row["step"] for row in workload["contenders"] if row["contender"] == "unstir"), None)


def _layout(mode: dict[str, Any]) -> str:
    return f"in {mode['precision']} with channels {'last' if mode['channels_last'] else 'first'}"
