"""The average of the weights, from which samples are drawn, beside the weights that were trained."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from unstir.doctor.finding import Finding
from unstir.doctor.levels import ratio
from unstir.doctor.patient import Patient


def check(patient: Patient) -> Iterator[Finding]:
    """Compare the loss of the average with that of the weights, and both with each other."""
    raw = patient.raw
    if raw is None:
        return
    errors = patient.errors(raw.predicting(), patient.splits.held_out).mean(1)
    variance = patient.gaussian.variance
    averaged, trained = (ratio(loss, patient.ceiling, variance) for loss in (patient.loss, errors))
    equal = all(torch.equal(a, b) for a, b in zip(patient.model.parameters(), raw.parameters()))
    steps = patient.position.step if patient.position else 0
    figures = {"error of the average": averaged, "error of the weights": trained}
    if averaged > 1.15 * trained:
        yield Finding(
            "average",
            "The average of the weights, from which samples are drawn, lags behind the weights themselves.",
            f"its error is {averaged:.2f} of a linear denoiser's after {steps:,} steps, the weights' "
            f"{trained:.2f}; normal is that the average is the better one",
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
