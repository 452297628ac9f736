"""The tables of a report: what was measured, with a column for each run, and the settings in which runs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unstir.evaluation.metrics import LIKELIHOODS, OF_SAMPLES
from unstir.web.report.record import Record

WIDE = 1.96
"""Standard errors on either side of a mean that make its 95 % interval."""

SUFFIXES = {"floor": "real images", "ceiling": "real images", "control": "held-out images"}
"""What is measured beside samples, by the end of its name."""


@dataclass(frozen=True)
class Reading:
    """One figure of one run.

    Attributes:
        value: It.
        interval: Its 95 % interval, where that is known.
        beside: What something else scores, and what that is.
        how: How samples were drawn, and from which seed.
        source: The file it stands in.
    """

    value: float
    interval: tuple[float, float] | None
    beside: tuple[float, str] | None
    how: str
    source: str


@dataclass
class Row:
    """One metric at one number of images by one reader: only such figures are held against each other.

    Attributes:
        metric: Its name.
        about: What it says.
        images: How many images it is of; None where that is not said.
        judged: By what, and against which data.
        cells: What each run has of it.
        best: Which run's interval lies apart from those of all others on the better side; None for no such run.
    """

    metric: str
    about: str
    images: int | None
    judged: str
    cells: list[list[Reading]]
    best: int | None = field(default=None)


def metric_rows(records: Sequence[Record]) -> list[Row]:
    """Return what ``unstir evaluate`` saved of these runs."""
    rows: dict[tuple[object, ...], Row] = {}
    for number, record in enumerate(records):
        for source, values in record.evaluations.items():
            for metric, about, images, judged, key, reading in _readings(values, source):
                found = rows.setdefault(
                    (metric, images, judged, key), Row(metric, about, images, judged, [[] for _ in records])
                )
                found.cells[number].append(reading)
    for row in rows.values():
        row.best = _best(row)
    order = [*OF_SAMPLES, *LIKELIHOODS]
    return sorted(
        rows.values(),
        key=lambda row: (order.index(row.metric) if row.metric in order else len(order), row.images or 0),
    )


def _readings(
    values: Mapping[str, Any], source: str
) -> Iterator[tuple[str, str, int | None, str, object, Reading]]:
    """Yield the figures of one evaluation: name, meaning, images, by what, the reader's key, and the figure."""
    how, data = _how(values), str(values.get("data", ""))
    for metric in (name for name in values if name in OF_SAMPLES and _is_number(values[name])):
        own = OF_SAMPLES[metric].backbone is None
        reader = str(values.get("backbone", "")) if own else OF_SAMPLES[metric].backbone
        judged = ", ".join(part for part in (reader, data) if part)
        key = values.get("backbone_key") if own else None
        ends = values.get(f"{metric}_low"), values.get(f"{metric}_high")
        interval = ends if all(map(_is_number, ends)) else None
        beside = next(
            (
                (values[f"{metric}_{end}"], what)
                for end, what in SUFFIXES.items()
                if _is_number(values.get(f"{metric}_{end}"))
            ),
            None,
        )
        reading = Reading(values[metric], interval, beside, how, source)  # type: ignore[arg-type]
        yield metric, OF_SAMPLES[metric].about, _count(values, "samples"), judged, key, reading
    for metric in (name for name in values if name in LIKELIHOODS and _is_number(values[name])):
        error, value = values.get(f"{metric}_standard_error"), values[metric]
        interval = (value - WIDE * error, value + WIDE * error) if isinstance(error, float) else None
        steps = values.get(f"{metric}_levels")
        how = f"{steps:,} levels" if isinstance(steps, int) else ""
        yield (
            metric,
            LIKELIHOODS[metric],
            values.get("bpd_images"),
            data,
            None,
            Reading(value, interval, None, how, source),
        )
    for metric in ("restoration", "attributes"):
        if isinstance(values.get(metric), dict):
            for name, value in _leaves(values[metric]):
                yield (
                    f"{metric}: {name}",
                    "",
                    values.get("images"),
                    data,
                    None,
                    Reading(value, None, None, how, source),
                )


def _leaves(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        whole = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{whole}, ")
        elif _is_number(value):
            yield whole, value


def _how(values: Mapping[str, Any]) -> str:
    """Return how samples were drawn, in a few words."""
    sampling = values.get("sampling")
    said = []
    if isinstance(sampling, dict) and isinstance(sampling.get("sampler"), dict):
        sampler = sampling["sampler"]
        own = [f"{name} {value:g}" for name, value in sampler.items() if name != "name" and _is_number(value)]
        said += [" ".join([str(sampler.get("name", "")), *own]), f"{sampling.get('steps')} steps"]
        if _is_number(sampling.get("guidance")) and sampling["guidance"]:
            said.append(f"guidance {sampling['guidance']:g}")
    elif sampling is not None:
        said.append("at once")
    if "seed" in values:
        said.append(f"seed {values['seed']}")
    return ", ".join(said)


def _best(row: Row) -> int | None:
    """Return the run that is better than all others by more than chance; None for none, or where it is unknown."""
    sign = 1 if "higher is better" in row.about else -1 if "lower is better" in row.about else 0
    spans = [[reading.interval for reading in cell] for cell in row.cells]
    if len(spans) < 2 or not sign or any(not cell or None in cell for cell in spans):
        return None
    # Turned so that more is better: the worst end of one lies above the best ends of all others.
    ends = [[sorted(sign * end for end in span) for span in cell if span] for cell in spans]
    for number, own in enumerate(ends):
        others = [span[1] for other, cell in enumerate(ends) if other != number for span in cell]
        if min(span[0] for span in own) > max(others):
            return number
    return None


def _count(values: Mapping[str, Any], name: str) -> int | None:
    return values[name] if isinstance(values.get(name), int) else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def differences(records: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Return the settings in which runs differ, as ``--set`` names them, and the value of each run; "" for none.

    Where one of them is a model file, which says nothing of data and training, only models are compared.
    """
    every = [_settings(record, whole=all(other.begun for other in records)) for record in records]
    names = dict.fromkeys(name for settings in every for name in settings)
    found = [(name, [settings.get(name, "") for settings in every]) for name in names]
    return [(name, values) for name, values in found if len({*values}) > 1]


def _settings(record: Record, whole: bool) -> dict[str, str]:
    asked = record.begun.asked() if whole and record.begun is not None else {}
    asked |= {"model": record.model.model_dump(mode="json", exclude=record.model.found_out)}
    asked.pop("note", None)
    return {name.removeprefix("model."): value for name, value in _flat(asked)}


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{name}.")
        elif value is not None:
            yield before + name, _said(value)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_said, value))}]"
    return str(value)
