r"""Copies of training images among what is drawn, beside held-out images, which cannot be any.

A sample is a copy where it is much nearer to one training image than to any other (Yoon et al. 2023):

.. math:: |x - a_1| < \tfrac13 |x - a_2|
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from unstir.doctor.finding import Finding
from unstir.doctor.patient import Patient

MOST = 50_000_000
"""Numbers of the training set that are compared with, at most."""


def check(patient: Patient) -> Iterator[Finding]:
    """Count the copies."""
    drawn = patient.drawn.tensor.clamp(-1, 1)
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
    nearest = torch.full((len(images), 2), torch.inf)
    flat = images.flatten(1).double()
    rows = 2000
    chosen = np.sort(np.random.default_rng(0).permutation(len(pixels))[: max(2, MOST // pixels[0].size)])
    for start in range(0, len(chosen), rows):
        part = torch.from_numpy(pixels[chosen[start : start + rows]]).flatten(1).double() / 127.5 - 1
        distances = torch.cdist(flat, part).float()
        nearest = torch.cat([nearest, distances], 1).sort(1).values[:, :2]
    # A copy to the bit in the data would be its own second nearest.
    return float((nearest[:, 0] < nearest[:, 1] / 3).double().mean())
