"""Copies of training images among what is drawn, by pixels; :mod:`unstir.evaluation.memorization` has the rule."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from unstir.doctor.finding import Finding
from unstir.doctor.patient import Patient
from unstir.evaluation.figures.strip import draw_strip
from unstir.evaluation.memorization import Nearest

MOST, ROWS = 50_000_000, 2000
"""Numbers of the training set that are compared with, at most, and images that are at once."""
SHOWN = 8


def check(patient: Patient) -> Iterator[Finding]:
    """Count the copies."""
    drawn = patient.walked.samples.tensor.clamp(-1, 1)
    control = patient.some(patient.splits.held_out, len(drawn))[0]
    (mine, among), (other, _) = (nearest(images, patient) for images in (drawn, control))
    ours, theirs = (float(found.copies().mean()) for found in (mine, other))
    if ours > theirs + 0.1:
        yield Finding(
            "copies",
            "Samples are copies of training images.",
            f"{ours:.0%} are nearer to one training image than a third of the way to the next; of held-out images "
            f"{theirs:.0%}",
            "train with dropout (--set network.dropout=0.1), on more images, or for a shorter time",
            "new images",
            min(0.9, 0.4 + ours - theirs),
            {"copies": ours, "of held-out images": theirs},
            partial(_picture, drawn, mine, patient.splits.train.pixels, among),
        )


def _picture(drawn: Tensor, found: Nearest, pixels: np.ndarray, among: np.ndarray) -> Figure:
    """Draw the samples that come nearest to a training image, and those below them."""
    first = np.argsort(found.ratios(), kind="stable")[:SHOWN]
    theirs = torch.from_numpy(pixels[among[found.rows[first, 0]]]) / 127.5 - 1
    rows = [drawn[torch.from_numpy(first)], theirs]
    return draw_strip(rows, ["samples", "training"], [""] * len(first))


def nearest(images: Tensor, patient: Patient) -> tuple[Nearest, np.ndarray]:
    """Return how near images are to training images, and which those are that its rows number, int64 (M,)."""
    train = patient.splits.train
    chosen = np.sort(np.random.default_rng(0).permutation(len(train))[: max(2, MOST // train.pixels[0].size)])
    found = Nearest(images.flatten(1).numpy())
    for start in range(0, len(chosen), ROWS):
        part = train.pixels[chosen[start : start + ROWS]]
        found.add(part.reshape(len(part), -1) / 127.5 - 1)
    return found, chosen
