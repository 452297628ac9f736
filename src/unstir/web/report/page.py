"""The page itself: what was found, laid out by the template beside this file."""

from __future__ import annotations

import base64
import hashlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from unstir import __version__
from unstir.doctor.finding import Finding
from unstir.evaluation.comparison import rows
from unstir.quantities import duration
from unstir.training.losses import VALIDATION, curve, losses
from unstir.web.report.charts import Chart
from unstir.web.report.examined import Examined
from unstir.web.report.figures import draw_levels, draw_losses, draw_table
from unstir.web.report.pictures import Shown, drawn, shown
from unstir.web.report.record import Record, names_of
from unstir.web.report.tables import differences, metric_rows

PICTURES, SMALL = 12, 720
"""Pictures of one training, at most, and the pixels of the longer side of those before the last."""

CLASSES = 12
"""Names of classes that are listed."""

SAMPLES = "The pictures over training"
LOSSES = "The losses"
METRICS = "Metrics"
TABLES = "Tables by sampler and steps"
CONFIGURATION = "The configuration"


@dataclass(frozen=True)
class Shot:
    """A picture of a training, and how many images had been seen."""

    images: int
    picture: Shown


@dataclass(frozen=True)
class Run:
    """One run as the template has it.

    Attributes:
        number: Of its colour.
        name: What it is called.
        path: Where it is.
        facts: What is known of it, by name.
        newest: Its newest samples.
        caption: What they show.
        shots: Its pictures over training.
        seen: What was asked of its model.
        findings: The doctor's, each with its picture if it has one.
        last: The last losses, by name.
        tables: What was compared.
        text: Its configuration as it stands.
        left_out: Why, by what is left out.
    """

    number: int
    name: str
    path: str
    facts: dict[str, str]
    newest: Shown | None
    caption: str
    shots: list[Shot]
    seen: Examined
    findings: list[tuple[Finding, Shown | None]]
    last: dict[str, str]
    tables: list[tuple[str, list[list[str]], Chart]]
    text: str
    left_out: dict[str, str]


def page(found: Sequence[tuple[Record, Examined]]) -> str:
    """Return the page of runs, at least one, side by side where there are several."""
    records = [record for record, _ in found]
    names = names_of(records)
    runs = [_run(number, name, *one) for number, (name, one) in enumerate(zip(names, found, strict=True))]
    known = [(run.number, run.name, run.seen.levels) for run in runs if run.seen.levels]
    same = len({record.begun.fingerprint for record, seen in found if record.begun and seen.levels}) == 1
    script = _text("page.js")
    template = _environment().get_template("page.html")
    return template.render(
        title=", ".join(names),
        runs=runs,
        made=date.today().isoformat(),
        version=__version__,
        losses=draw_losses(records, names),
        levels=draw_levels(known, same) if known else [],
        metrics=metric_rows(records),
        differences=differences(records) if len(records) > 1 else [],
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=Markup(_text("page.css")),
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("unstir.web.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": lambda share: f"{share:.0%}"}
    return environment


def _text(name: str) -> str:
    return resources.files("unstir.web.report").joinpath(name).read_text(encoding="utf-8")


def _run(number: int, name: str, record: Record, seen: Examined) -> Run:
    shots = _shots(record)
    findings = seen.diagnosis.findings if seen.diagnosis else []
    newest = shots[-1].picture if shots else seen.samples
    return Run(
        number,
        name,
        str(record.run),
        _facts(record, seen),
        newest,
        _caption(record),
        shots if len(shots) > 1 else [],
        seen,
        [(finding, drawn(finding.picture()) if finding.picture else None) for finding in findings],
        _last(record),
        [
            (_titled(table.cells), rows(table.cells, "value"), draw_table(table.cells, f"{number} {table.name}"))
            for table in record.tables
        ],
        record.text,
        left_out(record, seen),
    )


def left_out(record: Record, seen: Examined) -> dict[str, str]:
    """Return why, by what is left out of a run."""
    run, verbs = record.run, {*record.model.verbs}
    cannot = f"this model is {record.model.about.rstrip(',')}, and draws nothing"
    measures = f"none are saved; unstir evaluate {run} measures some" if {"draw", "predict"} & verbs else cannot
    absent = [
        (SAMPLES, len(record.pictures) > 1, "training drew none, or one alone"),
        (LOSSES, bool(losses(record.log)), "there is no log of a training"),
        (METRICS, bool(metric_rows([record])), measures),
        (
            TABLES,
            bool(record.tables),
            f"none are saved; unstir compare {run} makes one" if "draw" in verbs else cannot,
        ),
        (CONFIGURATION, bool(record.text), "a model file has none"),
    ]
    return {**seen.left_out, **{what: why for what, there, why in absent if not there}}


def _shots(record: Record) -> list[Shot]:
    """Return the pictures of a training, evenly chosen where there are many; the last is the largest."""
    every = record.pictures
    count = min(PICTURES, len(every))
    chosen = [every[round(i * (len(every) - 1) / max(1, count - 1))] for i in range(count)]
    shots = []
    for one in chosen:
        with Image.open(one.path) as picture:
            small = partial(shown, largest=SMALL) if one is not chosen[-1] else shown
            shots.append(Shot(one.images, small(picture)))
    return shots


def _caption(record: Record) -> str:
    if not record.pictures:
        return "Samples, drawn now"
    seen = f"after {record.pictures[-1].images:,} images"
    if "edit" in record.model.verbs:
        return f"Held-out images in threes: as they are, as is told, and restored, {seen}"
    if "draw" in record.model.verbs:
        return f"Samples {seen}"
    return f"Held-out images, the same corrupted, and restored, {seen}"


def _facts(record: Record, seen: Examined) -> dict[str, str]:
    """Return what is known of a run, by name, in words."""
    model, begun, position = record.model, record.begun, record.position
    facts = {}
    if begun is not None:
        facts["recipe"] = begun.recipe
        facts["data"] = begun.data.source
    facts["system"] = model.about.removeprefix("a ").removeprefix("an ").rstrip(",")
    facts["samples"] = " × ".join(map(str, model.samples.shape))
    if model.told:
        facts["told"] = ", ".join(model.told)
    if model.classes:
        more = f", … ({len(model.classes)})" if len(model.classes) > CLASSES else ""
        facts["classes"] = ", ".join(model.classes[:CLASSES]) + more
    facts["parameters"] = f"{seen.parameters:,}"
    if position is not None:
        known = seen.training_images
        times = f", {position.images / known:.3g} times each of {known:,}" if known else ""
        facts["images seen"] = f"{position.images:,}{times}"
        facts["time spent"] = duration(position.elapsed) + ("" if position.finished else ", not finished")
    speeds = curve(record.log, "images_per_second")[1]
    if speeds:
        facts["speed"] = f"{statistics.median(speeds):,.0f} images a second"
    if begun is not None and begun.begun.arithmetic:
        facts["trained on"] = ", ".join(
            f"{kind} in {number_format}" for kind, number_format in begun.begun.arithmetic.items()
        )
    if "draw" in model.verbs:
        drawing = model.drawing({})
        sampler = getattr(getattr(drawing, "sampler", None), "name", None)
        facts["drawn"] = f"by {sampler} in {drawing.steps:,} steps" if sampler else "at once"
        if guidance := getattr(drawing, "guidance", 0):
            facts["guidance"] = f"{guidance:g}"
    return facts


def _last(record: Record) -> dict[str, str]:
    """Return the last of each loss, and where it was measured."""
    found = {}
    for name in losses(record.log):
        for said, key in ((f"{name}, training", name), (f"{name}, held-out images", VALIDATION + name)):
            images, values = curve(record.log, key)
            if values:
                found[said.replace("_", " ")] = f"{number(values[-1])} at {images[-1]:,} images"
    return found


def _titled(cells: Sequence[object]) -> str:
    first = cells[0]
    return f"{first.metric} of {first.n:,} images a cell, by steps"  # type: ignore[attr-defined]


def number(value: float) -> str:
    """Return a number as people read it: four digits.

    >>> number(0.123456), number(1234.5), number(1437)
    ('0.1235', '1,234', '1,437')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
