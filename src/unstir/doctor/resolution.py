"""Whether the schedule fits the images: levels at which there is nothing to learn, and a schedule with fewer.

A schedule that suits 32 pixels leaves more of an image of 256 to be seen at the same noise: what is spread over
many pixels survives (Hoogeboom et al. 2023). So it is asked of the images themselves, and of them made smaller,
what a linear denoiser still sees at each level.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from matplotlib.figure import Figure
from torch.nn.functional import avg_pool2d

from unstir.diffusion import NoiseLevel, Schedule
from unstir.diffusion.config import ScheduleConfig
from unstir.doctor.finding import Finding
from unstir.doctor.gaussian import Gaussian
from unstir.doctor.patient import Patient
from unstir.doctor.pictures import curves

IDLE = 0.3
"""The share of training's levels, from which on it matters that nothing of the image is left, or all of it."""
UNSEEN, WHOLE = 0.98, 0.002
"""Errors, as shares of the data's variance, over which an image is lost and under which all of it is there."""
FIRST = 0.1
"""The noise of the first level, from which on it matters that less is never seen."""
TIMES = 41
OTHERS = ("cosine", "linear", "flow", "sigmoid")


def check(patient: Patient) -> Iterator[Finding]:
    """Ask at which of the levels that training draws a linear denoiser sees next to nothing, or next to all."""
    if patient.diffusion.one_level:
        return
    gaussian, schedule = patient.gaussian, patient.schedule
    idle, trivial = shares(gaussian, schedule)
    others = {name: sum(shares(gaussian, ScheduleConfig(name=name).build())) for name in OTHERS}
    best = min(others, key=lambda name: others[name])
    picture = partial(_picture, patient, best)
    for share, when, left in (
        (idle, "early", "nothing of the image is left"),
        (trivial, "late", "all of the image is there"),
    ):
        if share > IDLE and others[best] < idle + trivial - 0.05:
            yield Finding(
                f"schedule destroys too {when}",
                f"At many of the levels that are trained {left} to be seen.",
                f"{share:.0%} of the levels; under {IDLE:.0%} is usual. With all that teach nothing it has "
                f"{idle + trivial:.0%}, and {best} {others[best]:.0%}",
                f"train on another schedule (--set diffusion.schedule.name={best})",
                "more of the steps, in training and in drawing, go where images take shape",
                min(0.5, share),
                {"idle": idle, "trivial": trivial},
                picture,
            )
            break
    first = schedule(schedule.t_min)
    noise = float(first.sigma / first.alpha)
    if noise > FIRST:
        yield Finding(
            "noise at the first level",
            "Even the level of least noise hides fine detail.",
            f"its noise is {noise:.2f} of the pixels' range from the middle to white; normal is 0.01 to 0.05",
            "train on a schedule that begins with less noise (--set diffusion.schedule.name=cosine)",
            "samples end in detail, and not in an average over it",
            min(0.5, 0.3 + noise),
            {"noise": noise},
            picture,
        )


def shares(gaussian: Gaussian, schedule: Schedule) -> tuple[float, float]:
    """Return the shares of a schedule's levels at which an image is lost, and is all there."""
    errors = _errors(gaussian, [schedule(t) for t in _times(schedule)])
    return float((errors > UNSEEN).double().mean()), float((errors < WHOLE).double().mean())


def _times(schedule: Schedule) -> torch.Tensor:
    return torch.linspace(schedule.t_min, 1, TIMES, dtype=torch.float64)


def _errors(gaussian: Gaussian, levels: list[NoiseLevel]) -> torch.Tensor:
    """Return the linear denoiser's errors as shares of the variance."""
    return torch.tensor([gaussian.ceiling(level) for level in levels]) / float(gaussian.seen.mean())


def _picture(patient: Patient, best: str) -> Figure:
    """Draw how much of the image is known at each level, whole and made smaller."""
    schedule = patient.schedule
    levels = [schedule(t) for t in _times(schedule)]
    lines = {}
    for factor in (1, 2, 4, 8):
        if min(patient.known.shape[-2:]) >= 4 * factor:
            held_out = patient.learned(patient.some(patient.splits.held_out, len(patient.known))[0])
            small = Gaussian(*(avg_pool2d(images, factor) for images in (patient.known, held_out)))
            # The mean over a square of pixels has so much less noise.
            noised = [NoiseLevel(level.t, level.alpha, level.sigma / factor) for level in levels]
            name = "whole" if factor == 1 else f"1/{factor} of the side"
            lines[name] = (1 - _errors(small, noised)).tolist()
    other = ScheduleConfig(name=best).build()
    lines[f"whole, {best}"] = (1 - _errors(patient.gaussian, [other(t) for t in _times(other)])).tolist()
    return curves(_times(schedule).tolist(), lines, "t", "known of the image", log=False, even=True)
