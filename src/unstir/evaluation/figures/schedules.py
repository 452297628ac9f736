r"""The schedules side by side: how much of the image is left at each time.

Where a process keeps the variance, alpha_bar is alpha^2. For ``flow`` and ``ve``, which do not, the image's share
:math:`\bar\alpha = \alpha^2 / (\alpha^2 + \sigma^2)` stands in its place: the logistic of the log-SNR.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from unstir.diffusion.schedule import schedules

SHOWN = ("linear", "vp", "quadratic", "sigmoid", "cosine", "flow", "ve")


class Curve(NamedTuple):
    """A schedule at times above 0: each float64 (1000,)."""

    t: Tensor
    alpha_bar: Tensor
    log_snr: Tensor


def schedule_curves() -> dict[str, Curve]:
    """Return the schedules at their default values, at t = n / 1000 for n = 1..1000."""
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    levels = {name: schedules[name]()(t) for name in SHOWN}
    return {
        name: Curve(t, level.alpha**2 / (level.alpha**2 + level.sigma**2), level.log_snr)
        for name, level in levels.items()
    }


def draw_schedules() -> Figure:
    """Return the figure: alpha_bar on the left, the log-SNR on the right."""
    figure = Figure(figsize=(11, 4.4), dpi=140, layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, curve in schedule_curves().items():
        style = {"linestyle": (0, (4, 3)) if name == "vp" else "-", "linewidth": 3.5 if name == "linear" else 2}
        left.plot(curve.t, curve.alpha_bar, label=name, **style)
        right.plot(curve.t, curve.log_snr, label=name, **style)
    left.set(title="share of the image", ylabel=r"$\bar\alpha = \alpha^2 / (\alpha^2 + \sigma^2)$")
    right.set(title="signal to noise", ylabel=r"$\log\,(\alpha^2 / \sigma^2)$", ylim=(-14, 14))
    right.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    for axis in (left, right):
        axis.set(xlabel="t: 0 is clean, 1 the last level", xlim=(0, 1))
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure
