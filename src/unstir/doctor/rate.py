"""The learning rate, by a short probe: training anew at fractions and multiples of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial

from unstir.doctor.finding import Finding
from unstir.doctor.levels import FIRST_STEPS, own_ratio
from unstir.doctor.patient import Patient
from unstir.doctor.pictures import curves
from unstir.models.file import load_parts
from unstir.training.learner import Learner
from unstir.training.start import with_data

FACTORS = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
NEAR = (0.3, 3.0)
"""Factors of a rate that may look better for a moment, which does not make it the better one."""
STEPS, LEAST_STEPS, TIMED, WARMUP, BATCH, SECONDS = 80, 20, 3, 10, 16, 60.0
"""Of each probe, whose steps are fewer where all, by a few that are timed, would take longer than the seconds."""
POOR = 0.9
"""The error over the ceiling from which on it is asked: a network that learned well had a rate to learn by."""
BETTER = 0.8
"""By what the loss is lower at another rate, at least, where this is the better one."""


def check(patient: Patient) -> Iterator[Finding]:
    """Train anew for a few steps at several rates, if the network learned little."""
    if patient.begun is None or patient.position is None or patient.position.step < FIRST_STEPS:
        return
    if own_ratio(patient) < POOR:
        return
    own = patient.begun.training.learning_rate
    losses = dict(zip(FACTORS, probed(patient)))
    if not losses:
        return
    best = min(losses, key=lambda factor: losses[factor])
    if best == 1 or losses[best] > BETTER * losses[1.0]:
        return
    high = best < 1
    yield Finding(
        f"learning rate too {'high' if high else 'low'}",
        f"The learning rate is too {'high' if high else 'low'}.",
        f"trained anew for a moment, the held-out loss comes to {losses[1.0]:.3f} at {own:g}, and to "
        f"{losses[best]:.3f} at {best * own:.2g}; normal is that no other rate does much better",
        f"train again with --set training.learning_rate={best * own:.1g}",
        "the loss falls, and keeps falling" if high else "the loss falls as fast as it can",
        0.25 if best in NEAR else 0.95,
        {"learning rate": own} | {f"loss at {factor * own:.2g}": loss for factor, loss in losses.items()},
        partial(
            curves, [factor * own for factor in losses], {"loss": [*losses.values()]}, "learning rate", "loss"
        ),
    )


def probed(patient: Patient) -> list[float]:
    """Return the held-out losses after a few steps at each of the rates; [] if that would take too long."""
    assert patient.begun is not None
    own = patient.begun.training
    # Of so few steps the average is no matter.
    training = own.model_copy(update={"batch": min(BATCH, own.batch), "ema": 0.0})
    config = patient.begun.model_copy(update={"training": training})
    seen = with_data(config, patient.splits.train, patient.folder.path)
    parts = load_parts(seen.model.parts, patient.folder.path)

    def trained(rate: float, steps: int) -> Learner:
        learner = Learner(seen, patient.splits, parts)
        for number in range(1, steps + 1):
            learner.step(rate * min(1.0, number / WARMUP))
        return learner

    began = time.monotonic()
    trained(own.learning_rate, TIMED)
    affordable = SECONDS / len(FACTORS) * TIMED / (time.monotonic() - began)
    if affordable < LEAST_STEPS:
        return []
    losses = []
    for factor in FACTORS:
        learner = trained(factor * own.learning_rate, int(min(STEPS, affordable)))
        loss = next(iter(learner.validation_losses().values()))
        losses.append(loss if math.isfinite(loss) else math.inf)
    return losses
