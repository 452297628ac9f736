"""What the run's log says of its training: how far it came, the learning rate, gradients, the trend."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unstir.doctor.finding import Finding
from unstir.doctor.levels import own_ratio
from unstir.doctor.patient import Patient

USUAL = {"adamw": (2e-5, 5e-3), "muon": (1e-4, 2e-2)}
"""Learning rates that train denoisers, by optimizer: a tenth to some ten times of the recipes' own."""


def check(patient: Patient) -> Iterator[Finding]:
    """Read the log."""
    begun, position, log = patient.begun, patient.position, patient.log
    if begun is None or position is None:
        return
    training = begun.training
    done = position.images / training.images if training.images else position.elapsed / (training.seconds or 1)
    if not position.finished and done < 0.9:
        yield Finding(
            "stopped early",
            "Training was stopped long before its end.",
            f"{done:.0%} of its budget are spent, {position.step:,} steps",
            f"unstir train {begun.recipe} with the same options goes on",
            "the learning rate falls to its end, and with it the loss",
            float(np.clip(0.95 - done, 0.3, 0.9)),
            {"done": done},
        )
    least, most = USUAL[training.optimizer]
    rate, error = training.learning_rate, own_ratio(patient) if "predict" in patient.config.verbs else 1.0
    losses = np.array([line["loss"] for line in log if "loss" in line])
    norms = np.array([line["gradient_norm"] for line in log if "gradient_norm" in line])
    if rate > most and error > 0.9:
        yield Finding(
            "learning rate too high",
            "The learning rate is too high.",
            f"{rate:g}; with {training.optimizer} {least:g} to {most:g} are usual, and the error is {error:.2f} of a "
            "linear denoiser's",
            f"train again with --set training.learning_rate={0.3 * (least * most) ** 0.5:.1g}",
            "the loss falls, and keeps falling",
            0.95,
            {"learning rate": rate},
        )
    elif rate < least and error > 0.9:
        yield Finding(
            "learning rate too low",
            "The learning rate is too low.",
            f"{rate:g}; with {training.optimizer} {least:g} to {most:g} are usual, and the error is {error:.2f} of a "
            "linear denoiser's",
            f"train again with --set training.learning_rate={(least * most) ** 0.5:.1g}",
            "the loss falls as fast as it can",
            0.95,
            {"learning rate": rate},
        )
    elif len(norms) > 5 and error > 0.9 and float((norms[len(norms) // 4 :] > training.clip).mean()) > 0.9:
        yield Finding(
            "always clipped",
            "Every gradient is clipped.",
            f"gradients are of a norm of {np.median(norms):.1f}, and are cut to {training.clip:g}",
            "train again with a lower learning rate, or --set training.clip to twice that norm",
            "steps follow the loss again",
            0.5,
            {"norm": float(np.median(norms))},
        )
    if len(losses) > 8 and losses[-3:].mean() > 1.5 * losses.min():
        yield Finding(
            "diverged",
            "The loss rose again.",
            f"it ends at {losses[-3:].mean():.3f}, and was {losses.min():.3f} once; normal is that it ends lowest",
            "train again at a third of the learning rate",
            "the loss stays where it came to",
            0.7,
            {"last": float(losses[-3:].mean()), "least": float(losses.min())},
        )
