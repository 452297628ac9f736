"""Samples beside the training images that are nearest to them in pixels, and held-out images beside theirs.

What repeats its training images shows it here: its samples come nearer than images do that no model has seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unstir.doctor.copies import nearest
from unstir.doctor.patient import Patient
from unstir.models.samples import Samples
from unstir.web.report.pictures import Shown, shown

SHOWN = 8
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
    drawn = patient.walked.samples.tensor.clamp(-1, 1)
    control = patient.some(patient.splits.held_out, len(drawn))[0]
    (samples, among), (held_out, _) = (_beside(images, patient) for images in (drawn, control))
    return Neighbours(samples, held_out, among, len(train))


def _beside(images: Tensor, patient: Patient) -> tuple[Beside, int]:
    found, among = nearest(images, patient)
    first = np.argsort(found.ratios(), kind="stable")[:SHOWN]
    theirs = torch.from_numpy(patient.splits.train.pixels[among[found.rows[first, 0]]]) / 127.5 - 1
    mine, others = Samples(images[torch.from_numpy(first)]), Samples(theirs)
    pairs = [(shown(mine.picture(i), SIDE), shown(others.picture(i), SIDE)) for i in range(len(first))]
    distance = np.median(found.distances[:, 0]) / images[0].numel() ** 0.5
    return Beside(pairs, float(found.copies().mean()), float(distance), len(images)), len(among)
