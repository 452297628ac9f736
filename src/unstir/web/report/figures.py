"""The charts of a report: losses over images, losses by noise level, and quality by how samples are drawn."""

from __future__ import annotations

from collections.abc import Sequence

from unstir.evaluation.comparison import Cell
from unstir.evaluation.figures.levels import LevelLosses
from unstir.training.losses import VALIDATION, curve, losses, spreads
from unstir.web.report.charts import Chart, Line, Style, chart, colour
from unstir.web.report.record import Record

SPACES = {"x0": "error of the image, x₀", "eps": "error of the noise, ε", "v": "error of the velocity, v"}

BOUNDS: dict[str, tuple[str, Style]] = {
    "mean": ("the mean image, always", "dotted"),
    "ideal": ("ideal denoiser, held-out images", "solid"),
    "ideal, training": ("ideal denoiser, training images", "dashed"),
}
"""What a model is held against."""


def draw_losses(records: Sequence[Record], names: Sequence[str]) -> list[Chart]:
    """Return a chart for each loss over images seen, in training and on held-out images, of every run."""
    charts = []
    for loss in dict.fromkeys(loss for record in records for loss in losses(record.log)):
        lines = []
        for number, (record, name) in enumerate(zip(records, names, strict=True)):
            who = f"{name}: " if len(records) > 1 else ""
            held_out, training = curve(record.log, VALIDATION + loss), curve(record.log, loss)
            if training[0]:
                lines.append(Line(f"{who}training", *training, colour(number), faint=bool(held_out[0])))
            if held_out[0]:
                lines.append(Line(f"{who}held-out images", *held_out, colour(number), marked=True))
        log = spreads([value for line in lines for value in line.y])
        charts.append(chart(loss.replace("_", " "), lines, "images seen", log_y=log))
    return charts


def draw_levels(found: Sequence[tuple[int, str, LevelLosses]], bounded: bool = True) -> list[Chart]:
    """Return a chart for each space: the errors of every run over the noise.

    Args:
        found: The number, the name and the losses of each run, at least one.
        bounded: Whether the bounds of the first are those of all, which were trained on the same images.
    """
    alone, charts = len(found) == 1, []
    for space, title in SPACES.items():
        lines, seen = list[Line](), list[float]()
        if bounded:
            lines += [
                Line(text, _noise(found[0][2]), found[0][2].space(space)[name].tolist(), 0, style)
                for name, (text, style) in BOUNDS.items()
            ]
        for number, name, levels in found:
            noise, errors = _noise(levels), levels.space(space)
            who, held_out = "this model" if alone else name, errors["model"].tolist()
            lines.append(Line(f"{who}, held-out images", noise, held_out, colour(number), marked=True))
            if alone:
                training = errors["model, training"].tolist()
                lines.append(Line(f"{who}, training images", noise, training, colour(1), "dashed"))
            seen += held_out
        ends = min(seen) / 4, max(seen) * 4  # an error of exactly 0, or one magnified without end, lies outside
        charts.append(chart(title, lines, "noise, σ / α", log_x=True, log_y=True, bounds=ends))
    return charts


def _noise(losses: LevelLosses) -> list[float]:
    """Return sigma / alpha of the levels, in their order."""
    return (losses.levels.sigma / losses.levels.alpha).tolist()


def draw_table(cells: Sequence[Cell], mark: str) -> Chart:
    """Return the chart of a table: the metric over how often the network is asked, a line for each way.

    Args:
        cells: At least one.
        mark: What tells the table from others on the page.
    """
    by_way: dict[tuple[str, str], list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.evaluations):
        by_way.setdefault((cell.run, cell.way), []).append(cell)
    runs = {run for run, _ in by_way}
    lines = [
        Line(
            f"{run}: {way}" if len(runs) > 1 else way,
            [cell.evaluations for cell in own],
            [cell.value for cell in own],
            colour(number),
            marked=True,
        )
        for number, ((run, way), own) in enumerate(by_way.items())
    ]
    asked = sorted({cell.evaluations for cell in cells})
    real = cells[0].real
    if real is not None and len(runs) == 1:
        ends = [asked[0], asked[-1]]
        lines.append(Line("as many real images", ends, [real] * len(ends), 0, "dotted"))
    log = min(value for line in lines for value in line.y) > 0
    return chart(cells[0].metric, lines, "network evaluations an image", log_x=True, log_y=log, mark=mark)
