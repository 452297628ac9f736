"""Whether the schedule fits the images: levels at which there is nothing to learn."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from unstir.doctor.finding import Finding
from unstir.doctor.patient import Patient

IDLE = 0.3
"""The share of training's levels, from which on it matters that nothing of the image is left."""


def check(patient: Patient) -> Iterator[Finding]:
    """Ask at which of the levels that training draws a linear denoiser sees next to nothing, or next to all."""
    if patient.diffusion.one_level:
        return
    times = torch.linspace(patient.schedule.t_min, 1, 41, dtype=torch.float64)
    variance = float(patient.gaussian.seen.mean())
    unseen = [patient.gaussian.ceiling(patient.schedule(t)) / variance for t in times]
    idle = sum(part > 0.98 for part in unseen) / len(unseen)
    if idle > IDLE:
        yield Finding(
            "schedule destroys too early",
            "At many of the levels that are trained nothing of the image is left to be seen.",
            f"{idle:.0%} of the levels; under {IDLE:.0%} is usual",
            "train on another schedule (--set diffusion.schedule.name=cosine)",
            "more of the steps, in training and in drawing, go where images take shape",
            min(0.5, idle),
            {"idle": idle},
        )
