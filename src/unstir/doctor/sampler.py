r"""The sampler on the run's own grid, with a model whose answer is known: its error, and not the network's.

For normal data the exact denoiser is linear and its samples are normal again, so along each direction of the data
(:mod:`unstir.doctor.gaussian`) the variance that comes out is held against the one that should.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel, Prediction, Schedule
from unstir.diffusion.config import ScheduleConfig
from unstir.doctor.finding import Finding
from unstir.doctor.gaussian import gain
from unstir.doctor.patient import Patient
from unstir.errors import InputError
from unstir.sampling import grid, sample

LEFT = 0.05
"""The factor of the image at the noisiest level, from which on it matters that drawing starts without it."""
OFF = 0.15
"""The share by which the spread may be off."""
BEYOND = 0.5
"""By how much a log-SNR may lie outside of those of training."""
SAMPLES, DIRECTIONS = 512, 64
TRIED = (
    {"sampler": "dpm++2m", "steps": 20},
    {"sampler": "dpm++2m", "steps": 20, "spacing": "log_snr"},
    {"sampler": "ddim", "steps": 100},
)
"""Ways to draw that are tried where the run's own is far from exact."""


def check(patient: Patient) -> Iterator[Finding]:
    """Look at where the grid starts and ends, at its schedule, and at what the solver makes of an exact model."""
    settings: Any = patient.config.drawing({})
    own = patient.diffusion.schedule
    schedule = patient.schedule if settings.schedule is None else ScheduleConfig(name=settings.schedule).build()
    levels = grid(schedule, settings.steps, settings.spacing)
    yield from _start(levels[0], schedule(1.0), settings.spacing, own.name)
    yield from _levels(levels, patient.schedule)
    error = solver_error(patient, levels, settings.build(schedule))
    if error > OFF:
        yield Finding(
            "too few steps",
            f"The sampler, {settings.sampler.name} in {settings.steps} steps, is far from exact.",
            f"with an exact model of normal data, samples' spread is off by {error:.0%}; normal is a few percent",
            *_better(patient, schedule),
            float(min(0.95, 0.4 + error)),
            {"error": error, "steps": settings.steps},
        )
    if settings.guidance > 6:
        yield Finding(
            "guidance",
            "Guidance is very strong.",
            f"{settings.guidance:g}, where 0.5 to 4 are usual",
            "unstir sample RUN --guidance 1",
            "fewer burnt colours, more variety",
            float(min(0.9, 0.5 + settings.guidance / 50)),
            {"guidance": settings.guidance},
        )


def _start(first: NoiseLevel, last: NoiseLevel, spacing: str, name: str) -> Iterator[Finding]:
    left, whole = (float(level.alpha / (level.alpha**2 + level.sigma**2).sqrt()) for level in (first, last))
    if whole > LEFT:
        yield Finding(
            "signal left",
            "At the noisiest level of training images are still to be seen, and drawing starts without them.",
            f"the image's factor there is {whole:.2f}; normal is under {LEFT}",
            "train on a schedule that ends in noise (--set diffusion.schedule.name=cosine, or more steps of it)",
            "samples get the data's brightness and colours, and not all the same gray",
            float(min(1.0, 0.5 + whole)),
            {"left": whole},
        )
    elif left > max(LEFT, 3 * whole):
        yield Finding(
            "wrong first step",
            "Drawing starts from pure noise at a level that is not pure noise.",
            f"the grid '{spacing}' starts where the image's factor is {left:.2f}; the schedule {name} ends at "
            f"{whole:.3f}",
            "unstir sample RUN --spacing trailing",
            "samples get the data's brightness and colours",
            float(min(0.9, 0.4 + left)),
            {"left": left},
        )


def _levels(levels: list[NoiseLevel], trained: Schedule) -> Iterator[Finding]:
    """Look for levels at which the network is asked and was not trained."""
    # Beyond 9 to either side there is only noise, or only the image.
    most, least = (min(max(float(trained(t).log_snr), -9), 9) for t in (trained.t_min, 1.0))
    asked = [min(max(float(level.log_snr), -9), 9) for level in levels if float(level.sigma) > 0]
    beyond = max(least - min(asked), max(asked) - most)
    if beyond > BEYOND:
        yield Finding(
            "levels not trained",
            "The sampler asks the network at levels of noise that it was not trained at.",
            f"log-SNR from {min(asked):.1f} to {max(asked):.1f}, and training had {least:.1f} to {most:.1f}",
            "draw on the schedule of training (unstir sample RUN without --schedule)",
            "the network answers what it has learned",
            float(min(0.9, 0.5 + beyond / 10)),
            {"beyond": beyond},
        )


def solver_error(patient: Patient, levels: list[NoiseLevel], solver: Any) -> float:
    """Return by what share the spread of samples of an exact model of normal data is off."""
    variances = patient.gaussian.variances.sort(descending=True).values
    # Those that make up the data: of its last percent no eye sees anything.
    seen = variances[: max(1, int((variances.cumsum(0) < 0.99 * variances.sum()).sum()))]
    own = seen[torch.linspace(0, len(seen) - 1, min(DIRECTIONS, len(seen))).long()]
    generator = torch.Generator().manual_seed(0)

    def exact(x: Tensor, level: NoiseLevel) -> Prediction:
        # Of a variance that the network would tell, the posterior's is taken.
        return Prediction.from_x0(gain(own, level) * x, x, level, variance=torch.zeros_like(x))

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    # From noised data itself: where a walk begins is looked at beside this.
    top = levels[0].alpha ** 2 * own + levels[0].sigma ** 2
    begun = noise(torch.zeros(SAMPLES, len(own), dtype=torch.float64)) * top.sqrt()
    drawn = sample(exact, begun, levels, solver, noise)
    begun_spread = begun.pow(2).mean(0) / top  # of these numbers themselves
    spread = (
        (drawn.pow(2).mean(0) / begun_spread).sqrt() if _follows(begun, drawn) else drawn.pow(2).mean(0).sqrt()
    )
    return float((((spread - own.sqrt()) ** 2).sum() / own.sum()).sqrt())


def _better(patient: Patient, schedule: Schedule) -> tuple[str, str]:
    """Return how to draw more exactly, as a command, and what that does: the best of some ways."""
    errors: dict[str, float] = {}
    for asked in TRIED:
        with suppress(InputError):  # of a schedule that has fewer levels than these steps
            settings: Any = patient.config.drawing(asked)
            levels = grid(schedule, settings.steps, settings.spacing)
            options = " ".join(f"--{name} {value}" for name, value in asked.items())
            errors[options] = solver_error(patient, levels, settings.build(schedule))
    if not errors:
        return "train on a schedule of more levels", "there is room for steps"
    best = min(errors, key=lambda options: errors[options])
    return (
        f"unstir sample RUN {best}",
        f"samples as the network means them: their spread would be off by {errors[best]:.0%}",
    )


def _follows(begun: Tensor, drawn: Tensor) -> bool:
    """Whether samples are a function of where they began: then its chance is theirs, and is taken out."""
    together = (begun * drawn).mean(0) / (begun.pow(2).mean(0) * drawn.pow(2).mean(0)).clamp(min=1e-30).sqrt()
    return float(together.abs().median()) > 0.99
