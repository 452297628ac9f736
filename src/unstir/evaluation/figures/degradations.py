"""What a model is told in order to restore it: images of a set by row, degraded in each way by column."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from unstir.data.dataset import Splits
from unstir.data.degradations import DEGRADATIONS, DEGRADED
from unstir.evaluation.figures.strip import draw_strip

PASSES = 2
"""Columns of each degradation: what is told in the first passes over the set."""


def degradations_of(channels: int) -> tuple[str, ...]:
    """Return the names of the degradations of images of so many channels."""
    return tuple(name for name, way in DEGRADATIONS.items() if way.channels is None or channels in way.channels)


def degraded_columns(splits: Splits, indices: np.ndarray, names: tuple[str, ...]) -> Tensor:
    """Return images and what is told of them, (1 + passes x names, B, C, H, W), hidden pixels gray.

    Args:
        splits: The set, whose held-out images are looked at.
        indices: int (B,), of the images.
        names: Of the degradations.
    """
    columns = [splits.held_out.examples(indices)[0]]
    for name in names:
        held_out = splits.degraded((name,)).held_out
        for number in range(PASSES):
            told = held_out.examples(indices, passes=np.full(len(indices), number))[1][DEGRADED]
            assert isinstance(told, Tensor)
            columns.append(told[:, :-1])
    return torch.stack(columns)


def draw_degradations(splits: Splits, n: int, seed: int) -> tuple[Figure, tuple[str, ...]]:
    """Return the figure of ``n`` images that ``seed`` chooses, and the degradations that it shows."""
    held_out, names = splits.held_out, degradations_of(splits.held_out.shape[0])
    chosen = np.sort(np.random.default_rng(seed).permutation(len(held_out))[:n])
    columns = degraded_columns(splits, chosen, names)
    titles = ["image", *(title for name in names for title in (name, *[""] * (PASSES - 1)))]
    return draw_strip([*columns.transpose(0, 1)], [f"{i}" for i in chosen], titles), names
