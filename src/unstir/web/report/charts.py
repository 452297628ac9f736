"""Lines over an axis as inline SVG, whose colours and letters are those of the page, in light and in dark.

The drawing holds no text of a user's: names of runs stand in the legend, which is the page's own.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

COLOURS = 6
"""How many the page has, beside the gray of bounds, which is 0."""

POINTS = 300
"""Of a line, at most: of more, neighbours become their mean."""

Style = Literal["solid", "dashed", "dotted"]

_INK = "#010203"
_OF_LINES = [f"#0102{16 + number:02x}" for number in range(COLOURS + 1)]
_DASHES = {"solid": "-", "dashed": (0, (5, 3)), "dotted": (0, (1.5, 2.5))}


@dataclass(frozen=True)
class Line:
    """A line.

    Attributes:
        name: As the legend has it; "" for none there.
        x: Across, ascending.
        y: Up.
        colour: Out of the page's, from 1 on; 0 is the gray of bounds.
        style: How it is drawn.
        marked: Whether each point is.
        faint: Whether it stands behind the others.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int
    style: Style = "solid"
    marked: bool = False
    faint: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawing and what its lines are.

    Attributes:
        title: What is drawn.
        svg: The drawing.
        legend: A line of each kind.
    """

    title: str
    svg: Markup
    legend: list[Line]


def colour(number: int) -> int:
    """Return the colour of the line of so many, from 0 on."""
    return 1 + number % COLOURS


def chart(
    title: str,
    lines: Sequence[Line],
    across: str,
    up: str = "",
    log_x: bool = False,
    log_y: bool = False,
    bounds: tuple[float, float] | None = None,
    mark: str = "",
) -> Chart:
    """Return a chart.

    Args:
        title: What is drawn.
        lines: At least one, each of at least one point.
        across: What the horizontal axis is.
        up: What the vertical one is.
        log_x: Whether the horizontal axis is logarithmic.
        log_y: Whether the vertical one is.
        bounds: The ends of the vertical axis; None for those of the lines.
        mark: What tells it from another chart of this title on the same page.
    """
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": f"{title} {mark}",
        "font.family": "sans-serif",
        "font.size": 11,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "grid.color": _INK,
    }
    with matplotlib.rc_context(style):  # type: ignore[arg-type]
        figure = Figure(figsize=(4.7, 3.1), layout="constrained")
        axis = figure.subplots()
        for line in map(_thinned, lines):
            axis.plot(
                line.x,
                line.y,
                color=_OF_LINES[line.colour],
                linestyle=_DASHES[line.style],
                linewidth=1.3 if line.faint else 2.0,
                alpha=0.45 if line.faint else 1.0,
                marker="o" if line.marked or len(line.x) == 1 else "",
                markersize=4,
                zorder=2 if line.faint or line.colour == 0 else 3,
            )
        _axes(axis, log_x, log_y)
        axis.set(xlabel=across, ylabel=up)
        if bounds is not None:
            axis.set_ylim(*bounds)
        held = io.StringIO()
        figure.savefig(held, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Chart(title, _inline(held.getvalue(), title), [line for line in lines if line.name])


def _axes(axis: Axes, log_x: bool, log_y: bool) -> None:
    plain = FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−"))
    for log, part, name in ((log_x, axis.xaxis, "x"), (log_y, axis.yaxis, "y")):
        if not log:
            part.set_major_formatter(EngFormatter(sep="") if name == "x" else plain)
            continue
        getattr(axis, f"set_{name}scale")("log")
        low, high = sorted(getattr(axis, f"get_{name}lim")())
        part.set_major_locator(LogLocator(subs=(1.0,) if high > 50 * low else (1.0, 2.0, 5.0)))
        part.set_major_formatter(plain)
        part.set_minor_formatter(NullFormatter())
    axis.grid(alpha=0.13, linewidth=0.8)
    axis.tick_params(which="both", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_alpha(0.4)


def _thinned(line: Line) -> Line:
    if len(line.x) <= POINTS:
        return line
    parts = [np.array_split(np.asarray(values, dtype=np.float64), POINTS) for values in (line.x, line.y)]
    x, y = ([float(part.mean()) for part in values] for values in parts)
    return replace(line, x=x, y=y)


def _inline(svg: str, title: str) -> Markup:
    """Return a drawing as a part of a page: in the page's colours, without names that another could have too."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    referred = {*re.findall(r"#([\w-]+)\)?\"", svg)}
    svg = re.sub(r' id="([\w.-]+)"', lambda found: found[0] if found[1] in referred else "", svg)
    (box,) = re.findall(r'viewBox="[^"]+"', svg)
    head = Markup('<svg {} role="img" aria-label="{}">').format(Markup(box), title)
    svg = re.sub(r"<svg[^>]*>", lambda _: str(head), svg, count=1)
    svg = svg.replace("xlink:href", "href").replace(_INK, "currentColor")
    for number, placeholder in enumerate(_OF_LINES):
        svg = svg.replace(placeholder, f"var(--line-{number})")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)  # as older versions of matplotlib say it
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    return Markup(re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><"))
