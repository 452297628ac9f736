"""Low against full precision, on one batch."""

from __future__ import annotations

from collections.abc import Iterator

from unstir.doctor.finding import Finding
from unstir.doctor.patient import FEW_IMAGES, Patient, errors, levels_of
from unstir.models.file import load
from unstir.models.precision import resolve_precision

WORSE = 1.1
"""By what low precision may raise the error."""


def check(patient: Patient) -> Iterator[Finding]:
    """Ask the network in the run's number format and in float32."""
    own = resolve_precision(patient.config.precision, patient.model.device)
    if own == "float32":
        return
    full = load(patient.run)
    full.config = full.config.model_copy(update={"precision": "float32"})
    levels = levels_of(patient.schedule, 6)[1:-1]
    low, high = (
        errors(patient.asked(model.predicting(), patient.splits.held_out, levels, FEW_IMAGES)).mean(1)  # type: ignore[attr-defined]
        for model in (patient.model, full)
    )
    grown = float((low / high).log().max().exp())
    if not grown <= WORSE:  # or it is no number
        yield Finding(
            "precision",
            f"The network loses much in {own}.",
            f"its error is {grown:.2f} times that in float32, at one level; normal is 1.00 to 1.02",
            "train and draw with --set precision=float32",
            "small differences between levels are not rounded away",
            min(0.9, 0.5 + grown - WORSE) if grown == grown else 0.9,
            {"grown": grown},
        )
