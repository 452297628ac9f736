"""What findings show: curves, and rows of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

Curve = Sequence[float]


def curves(
    x: Curve,
    lines: Mapping[str, Curve],
    across: str,
    up: str,
    *,
    log: bool = True,
    even: bool = False,
    normal: float | None = None,
) -> Figure:
    """Return a figure of curves.

    Args:
        x: Where they were measured.
        lines: By their names.
        across: What x is.
        up: What they are.
        log: Whether the axis up is logarithmic.
        even: Whether the axis across is not.
        normal: Where a thin line is drawn that they should keep to; None for none.
    """
    figure = Figure(figsize=(6.4, 3.6), dpi=130, layout="constrained")
    axis = figure.subplots()
    for number, (name, y) in enumerate(lines.items()):
        axis.plot(x, y, "o-", markersize=3, color=f"C{number}", label=name)
    if normal is not None:
        axis.axhline(normal, color="0.5", linewidth=0.8)
    axis.set(xscale="linear" if even else "log", yscale="log" if log else "linear", xlabel=across, ylabel=up)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    return figure
