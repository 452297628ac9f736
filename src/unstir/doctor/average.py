"""The average of the weights, from which samples are drawn, beside the weights that were trained."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import torch

from unstir.doctor.finding import Finding
from unstir.doctor.levels import ratio
from unstir.doctor.patient import Patient, errors
from unstir.doctor.pictures import curves

JUMP = 1.25
"""The factor by which the held-out loss rises at once, where an average began anew."""


def check(patient: Patient) -> Iterator[Finding]:
    """Compare the loss of the average with that of the weights, and both with each other."""
    raw = patient.raw
    if raw is None:
        return
    of_weights = errors(patient.asked(raw.predicting(), patient.splits.held_out)).mean(1)
    variance = patient.gaussian.variance
    averaged, trained = (ratio(loss, patient.ceiling, variance) for loss in (patient.loss, of_weights))
    equal = all(torch.equal(a, b) for a, b in zip(patient.model.parameters(), raw.parameters()))
    steps = patient.position.step if patient.position else 0
    decay = patient.begun.training.ema if patient.begun else 0.0
    left = decay**steps
    figures = {"error of the average": averaged, "error of the weights": trained, "left of the start": left}
    if averaged > 1.15 * trained:
        yield Finding(
            "average",
            "The average of the weights, from which samples are drawn, lags behind the weights themselves.",
            f"its error is {averaged:.2f} of a linear denoiser's after {steps:,} steps, the weights' "
            f"{trained:.2f}; normal is that the average is the better one"
            + (
                f"; an average of {decay:g} from the first step on would still hold {left:.0%} of the start"
                if left > 0.01
                else ""
            ),
            "train longer, or with a shorter average (--set training.ema=0.99)",
            f"samples as good as an error of {trained:.2f} allows",
            min(1.0, 0.5 + 0.5 * (averaged / trained - 1)),
            figures,
        )
    elif equal and steps > 10:
        yield Finding(
            "no average",
            "Samples are drawn from the weights as they are, and no average of them.",
            f"average and weights are equal to the bit after {steps:,} steps; normal is a difference",
            "train with an average (--set training.ema=0.9999)",
            "less noise in the weights: steadier colours, and a better distance",
            0.4,
            figures,
        )
    yield from _jump(patient)


def _jump(patient: Patient) -> Iterator[Finding]:
    """Look for the held-out loss, which is the average's, to rise at once: where it began anew."""
    measured = [(line["images"], line["validation_loss"]) for line in patient.log if "validation_loss" in line]
    for (_, before), (images, after) in pairwise(measured):
        if after > JUMP * before:
            yield Finding(
                "average lost",
                "The average's loss jumped up during training: it seems to have begun anew.",
                f"at {images:,} images the held-out loss rose from {before:.3g} to {after:.3g}; normal is that it "
                "falls, or rises by a few percent",
                "resume with the average as it was, and train on until it has caught up",
                "an average of all that was learned, and not of the last steps",
                0.7,
                {"before": before, "after": after},
                partial(
                    curves,
                    [at for at, _ in measured],
                    {"held-out loss of the average": [loss for _, loss in measured]},
                    "images seen",
                    "loss",
                ),
            )
            return
