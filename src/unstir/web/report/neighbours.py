"""Samples beside the training images that are nearest to them in pixels, and held-out images beside theirs.

What repeats its training images shows it here: its samples come nearer than images do that no model has seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unstir.data.dataset import ImageData
from unstir.doctor.patient import Patient
from unstir.evaluation.memorization import Nearest
from unstir.models.samples import Samples
from unstir.web.report.pictures import Shown, shown

SHOWN = 8
MOST, ROWS = 50_000_000, 2000
"""Numbers of the training set that are compared with, at most, and images that are at once."""
SIDE = 128


@dataclass(frozen=True)
class Beside:
    """Some images, each beside its nearest training image.

    Attributes:
        pairs: Those that come nearest, by the ratio of the nearest distance to the second nearest.
        copies: The share of all, which are under a third.
        distance: The median distance of all to the nearest: root mean square over pixels in [-1, 1].
        images: How many were compared.
    """

    pairs: list[tuple[Shown, Shown]]
    copies: float
    distance: float
    images: int


@dataclass(frozen=True)
class Neighbours:
    """Samples and, as a control, held-out images beside their nearest training images.

    Attributes:
        samples: What was drawn.
        held_out: What no model has seen.
        among: How many training images were compared with.
        training_images: How many there are.
    """

    samples: Beside
    held_out: Beside
    among: int
    training_images: int


def neighbours(patient: Patient) -> Neighbours:
    """Compare the samples of a run, and as many held-out images, with its training images."""
    train = patient.splits.train
    most = max(2, MOST // train.pixels[0].size)
    chosen = np.sort(np.random.default_rng(0).permutation(len(train))[:most])
    drawn = patient.drawn.tensor.clamp(-1, 1)
    control = patient.some(patient.splits.held_out, len(drawn))[0]
    samples, held_out = (_beside(images, train, chosen) for images in (drawn, control))
    return Neighbours(samples, held_out, len(chosen), len(train))


def _beside(images: Tensor, train: ImageData, chosen: np.ndarray) -> Beside:
    nearest = Nearest(images.flatten(1).numpy())
    for start in range(0, len(chosen), ROWS):
        part = train.pixels[chosen[start : start + ROWS]]
        nearest.add(part.reshape(len(part), -1) / 127.5 - 1)
    first = np.argsort(nearest.ratios(), kind="stable")[:SHOWN]
    theirs = torch.from_numpy(train.pixels[chosen[nearest.rows[first, 0]]]) / 127.5 - 1
    mine, others = Samples(images[torch.from_numpy(first)]), Samples(theirs)
    pairs = [(shown(mine.picture(i), SIDE), shown(others.picture(i), SIDE)) for i in range(len(first))]
    distance = np.median(nearest.distances[:, 0]) / images[0].numel() ** 0.5
    return Beside(pairs, float(nearest.copies().mean()), float(distance), len(images))
