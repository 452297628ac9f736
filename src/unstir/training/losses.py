"""The losses in a run's log: which there are, how they went, and their picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unstir.files import whole_file
from unstir.training.log import lines
from unstir.training.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VALIDATION, NORM = "validation_", "gradient_norm"
"""How the names of losses on held-out images begin in the log, and those of gradients' norms."""

_NO_LOSSES = ("step", "images", "learning_rate", "images_per_second", "seconds")
"""What else a line of the log says."""

LEAST = 3
"""Lines of the log under which there is no curve to be seen."""

Log = Sequence[Mapping[str, Any]]


def losses(log: Log) -> list[str]:
    """Return the names of the losses that a log has, in order."""
    names = dict.fromkeys(name for line in log for name in line)
    found = [name for name in names if name not in _NO_LOSSES and not name.startswith((VALIDATION, NORM))]
    return [name for name in found if curve(log, name)[0]]


def curve(log: Log, name: str) -> tuple[list[int], list[float]]:
    """Return what a log says of one value: images seen, and the value there."""
    points = [(line["images"], line[name]) for line in log if _number(line, "images", name)]
    return [images for images, _ in points], [value for _, value in points]


def spreads(values: Sequence[float]) -> bool:
    """Whether values are better seen on a logarithmic axis."""
    return min(values) > 0 and max(values) > 5 * min(values)


def save_losses(folder: RunFolder) -> None:
    """Draw a run's losses anew, if its log is long enough.

    Raises:
        InputError: If the disk is full.
    """
    log = lines(folder.metrics)
    if len(log) >= LEAST and losses(log):
        with whole_file(folder.losses) as partial:
            draw_losses(log).savefig(partial, facecolor="white")


def draw_losses(log: Log) -> Figure:
    """Return the figure of a log that has losses: each over images seen, in training and on held-out images."""
    from matplotlib.figure import Figure  # whose import takes a second
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    names = losses(log)
    figure = Figure(figsize=(7, 0.6 + 3.4 * len(names)), dpi=120, layout="constrained")
    for axis, name in zip(figure.subplots(len(names), squeeze=False).flat, names):
        training, held_out = curve(log, name), curve(log, VALIDATION + name)
        axis.plot(*training, color="C0", alpha=0.6, linewidth=1.2, label="training")
        if held_out[0]:
            axis.plot(*held_out, "o-", color="C1", markersize=4, linewidth=2, label="held-out images")
        if spreads(training[1] + held_out[1]):
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set(xlabel="images seen", ylabel=name.replace("_", " "))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    return figure


def _number(line: Mapping[str, Any], *names: str) -> bool:
    values = [line.get(name) for name in names]
    return all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
