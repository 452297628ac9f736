"""Images in rows and columns with a label for each row and a title over each column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from unstir.models.samples import Samples

CELL = 1.05
"""Inches that an image is wide."""


def draw_strip(
    rows: Sequence[Tensor], labels: Sequence[str], titles: Sequence[str], notes: Sequence[Sequence[str]] = ()
) -> Figure:
    """Return a figure of rows of images.

    Args:
        rows: Each float32 (N, C, H, W) in [-1, 1]; values beyond are clipped.
        labels: What stands to the left of each row.
        titles: What stands over each column.
        notes: For each row what stands under each of its images.
    """
    height, width = rows[0].shape[-2:]
    cell = CELL * height / width + 0.05 + (0.12 if notes else 0)
    columns = len(titles)
    figure = Figure(figsize=(CELL * columns + 1.1, cell * len(rows) + 0.35), dpi=140, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0.0, hspace=0.0)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for i, (images, label) in enumerate(zip(rows, labels, strict=True)):
        for j, axis in enumerate(axes[i]):
            picture = np.asarray(Samples(images).picture(j))
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if i == 0:
                axis.set_title(titles[j], fontsize=10)
            if notes:
                axis.set_xlabel(notes[i][j], fontsize=8, labelpad=2)
        axes[i, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=11, labelpad=6)
    return figure
