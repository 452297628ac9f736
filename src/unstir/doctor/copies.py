"""Copies of training images among what is drawn, by pixels; :mod:`unstir.evaluation.memorization` has the rule."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from unstir.doctor.finding import Finding
from unstir.doctor.patient import Patient
from unstir.evaluation.memorization import Nearest

MOST, ROWS = 50_000_000, 2000
"""Numbers of the training set that are compared with, at most, and images that are at once."""


def check(patient: Patient) -> Iterator[Finding]:
    """Count the copies."""
    drawn = patient.walked.samples.tensor.clamp(-1, 1)
    control = patient.some(patient.splits.held_out, len(drawn))[0]
    ours, theirs = (copied(images, patient) for images in (drawn, control))
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
        )


def copied(images: Tensor, patient: Patient) -> float:
    """Return the share of images that are copies of training images."""
    pixels = patient.splits.train.pixels
    chosen = np.sort(np.random.default_rng(0).permutation(len(pixels))[: max(2, MOST // pixels[0].size)])
    nearest = Nearest(images.flatten(1).numpy())
    for start in range(0, len(chosen), ROWS):
        part = pixels[chosen[start : start + ROWS]]
        nearest.add(part.reshape(len(part), -1) / 127.5 - 1)
    return float(nearest.copies().mean())
