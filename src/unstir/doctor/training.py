"""What the run's log says of its training: how far it came, the learning rate, gradients, the trend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from unstir.doctor.finding import Finding
from unstir.doctor.levels import own_ratio
from unstir.doctor.patient import Patient
from unstir.doctor.pictures import curves
from unstir.quantities import duration
from unstir.training.losses import VALIDATION, curve
from unstir.training.trend import Trend, trend

SPIKE = 5.0
"""Of a gradient's norm, over the usual."""


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
    error = own_ratio(patient) if "predict" in patient.config.verbs else 0.0
    losses = np.array([line["loss"] for line in log if "loss" in line])
    norms = np.array([line["gradient_norm"] for line in log if "gradient_norm" in line])
    if len(norms) > 5 and error > 0.9 and float((norms[len(norms) // 4 :] > training.clip).mean()) > 0.9:
        yield Finding(
            "always clipped",
            "Every gradient is clipped.",
            f"gradients are of a norm of {np.median(norms):.1f}, and are cut to {training.clip:g}",
            "train again with a lower learning rate, or --set training.clip to twice that norm",
            "steps follow the loss again",
            0.5,
            {"norm": float(np.median(norms))},
        )
    spikes = int((norms > SPIKE * np.median(norms)).sum()) if len(norms) > 8 else 0
    if spikes > 1:
        yield Finding(
            "spikes",
            "Gradients were very large at times.",
            f"{spikes} of {len(norms)} lines of the log, which are means over steps, show a norm of over "
            f"{SPIKE:g} times the usual; normal is none, or one at the start",
            "train with a lower learning rate, or a longer warm-up (--set training.warmup=500)",
            "no step undoes what many have learned",
            0.25,
            {"spikes": spikes},
        )
    yield from _size(patient, error)
    leads = trend(log, training) if position.finished and not patient.brief else None
    if leads and leads.power < -0.05:
        yield _trend(leads, curve(log, f"{VALIDATION}loss"), position.elapsed)
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


def _size(patient: Patient, error: float) -> Iterator[Finding]:
    count = sum(parameter.numel() for parameter in patient.model.parameters())
    numbers = int(np.prod(patient.config.samples.shape))
    if count < 50 * numbers + 20_000 and error > 0.7:
        yield Finding(
            "small network",
            "The network is too small for its images.",
            f"{count:,} parameters for images of {numbers:,} numbers, and an error of {error:.2f} of a linear "
            "denoiser's; the recipes have some hundred parameters a number, and reach 0.3 to 0.6",
            "train a wider one (--set network.channels=[64,128])",
            "it learns what it now has no room for",
            0.65,
            {"parameters": count},
        )


def _trend(leads: Trend, measured: tuple[Sequence[float], Sequence[float]], seconds: float) -> Finding:
    """Say what more training would bring: the held-out loss falls about as a power of the images seen."""
    images, losses = measured
    more = {times: leads.after(times) for times in (3, 10)}
    between = {
        times: f"between {low:.3g} and {high:.3g} in {duration(times * seconds)}"
        for times, (low, high) in more.items()
    }
    return Finding(
        "short training",
        "The held-out loss was still falling when training ended.",
        f"it fell as the images seen to the power of {leads.power:.2f}",
        f"train for {duration(3 * seconds)} or more: the same command with a longer --for goes on",
        f"it, {leads.last:.3g} now, would come to {between[3]}, and to {between[10]}",
        float(min(0.25, -leads.power)),
        {"power": leads.power}
        | {
            f"loss in {times} times the time, at {which}": loss
            for times, both in more.items()
            for which, loss in zip(("best", "worst"), both)
        },
        partial(
            curves,
            images,
            {
                "held-out loss": losses,
                "its trend": [leads.last * (seen / images[-1]) ** leads.power for seen in images],
            },
            "images seen",
            "loss",
        ),
    )
