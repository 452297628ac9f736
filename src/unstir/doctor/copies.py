"""Copies of training images among what is drawn, by pixels; :mod:`unstir.evaluation.memorization` has the rule."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from unstir.doctor.finding import Finding
from unstir.doctor.patient import FIRST_DRAWING, FIRST_QUICK, LEAST_DRAWN, Patient
from unstir.evaluation.figures.strip import draw_strip
from unstir.evaluation.memorization import Nearest

MOST, ROWS = 50_000_000, 2000
"""Numbers of the training set that are compared with, at most, and images that are at once."""
SHOWN = 8
MORE = 0.1
"""How much larger the share of copies may be than that of held-out images."""
FEW = 5000
"""Training images up to which a first look counts copies."""


def check(patient: Patient) -> Iterator[Finding]:
    """Count the copies."""
    found = _counted(patient)
    ours, theirs = (float(one.copies().mean()) for one in (found.drawn, found.held_out))
    if ours > theirs + MORE:
        yield Finding(
            "copies",
            "Samples are copies of training images.",
            f"{ours:.0%} are nearer to one training image than a third of the way to the next; of held-out images "
            f"{theirs:.0%}",
            "train with dropout (--set network.dropout=0.1), on more images, or for a shorter time",
            "new images",
            min(0.9, 0.4 + ours - theirs),
            {"copies": ours, "of held-out images": theirs},
            partial(_picture, found.samples, found.drawn, patient.splits.train.pixels, found.among),
        )


def first_look(patient: Patient) -> str:
    """Return how many samples are copies, in a sentence; "" where that is no danger, or would take long."""
    if len(patient.splits.train) > FEW or "draw" not in patient.config.verbs:
        return ""
    if "predict" in patient.config.verbs and LEAST_DRAWN * FIRST_QUICK * patient.seconds > 2 * FIRST_DRAWING:
        return ""
    found = _counted(patient)
    ours, theirs = (int(one.copies().sum()) for one in (found.drawn, found.held_out))
    drawn, held_out = len(found.samples), len(found.held_out.distances)
    advice = "; more images, or less training, would make fewer" if ours / drawn > theirs / held_out + MORE else ""
    copying = f"{ours} copy" if ours > 1 else f"{ours or 'none'} copies"
    others = f"of {held_out} held-out ones {theirs or 'none'}"
    return f"Of {drawn} images drawn {copying} a training image, {others}{advice}"


class _Counted(NamedTuple):
    """Samples, how near they and held-out images are to training images, and which those are."""

    samples: Tensor
    drawn: Nearest
    held_out: Nearest
    among: np.ndarray


def _counted(patient: Patient) -> _Counted:
    drawn = patient.walked.samples.tensor.clamp(-1, 1)
    control = patient.some(patient.splits.held_out, len(drawn))[0]
    (mine, among), (other, _) = (nearest(images, patient) for images in (drawn, control))
    return _Counted(drawn, mine, other, among)


def _picture(drawn: Tensor, found: Nearest, pixels: np.ndarray, among: np.ndarray) -> Figure:
    """Draw the samples that come nearest to a training image, and those below them."""
    first = np.argsort(found.ratios(), kind="stable")[:SHOWN]
    theirs = torch.from_numpy(pixels[among[found.rows[first, 0]]]) / 127.5 - 1
    rows = [drawn[torch.from_numpy(first)], theirs]
    return draw_strip(rows, ["samples", "training"], [""] * len(first))


def nearest(images: Tensor, patient: Patient) -> tuple[Nearest, np.ndarray]:
    """Return how near images are to training images, and which those are that its rows number, int64 (M,).

    Where training images were mirrored, each is as near as the nearer of it and its mirror image.
    """
    train = patient.splits.train
    chosen = np.sort(np.random.default_rng(0).permutation(len(train))[: max(2, MOST // train.pixels[0].size)])
    data = patient.begun.data if patient.begun else None
    mirrored = data is not None and (data.flip or data.augment > 0)
    ways = [Nearest(each.flatten(1).numpy()) for each in (images, images.flip(-1))[: 1 + mirrored]]
    for start in range(0, len(chosen), ROWS):
        part = train.pixels[chosen[start : start + ROWS]]
        for found in ways:
            found.add(part.reshape(len(part), -1) / 127.5 - 1)
    return _nearer(ways) if mirrored else ways[0], chosen


def _nearer(ways: list[Nearest]) -> Nearest:
    """Return the two images nearest by any of some ways, of which several may have found the same one."""
    found = ways[0]
    distances, rows = (
        np.concatenate([getattr(way, name) for way in ways], axis=1) for name in ("distances", "rows")
    )
    order = np.argsort(distances, axis=1, kind="stable")
    distances, rows = (np.take_along_axis(part, order, axis=1) for part in (distances, rows))
    second = (rows != rows[:, :1]).argmax(1)[:, None]
    places = np.concatenate([np.zeros_like(second), second], axis=1)
    found.distances, found.rows = (np.take_along_axis(part, places, axis=1) for part in (distances, rows))
    return found
