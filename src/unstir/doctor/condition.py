"""Whether the network hears the time and what it is told: what it would lose without."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from unstir.diffusion import Condition, NoiseLevel
from unstir.doctor.finding import Finding
from unstir.doctor.levels import FIRST_STEPS
from unstir.doctor.patient import Patient, errors, levels_of
from unstir.networks.told import AUGMENTATION

LEAST = 1.03
"""By how much the error grows, at least, where what was heard is exchanged."""


def check(patient: Patient) -> Iterator[Finding]:
    """Exchange the times, and what is told, and see whether the loss minds."""
    yield from _dead(patient)
    yield from _time(patient)
    yield from _told(patient)


def _dead(patient: Patient) -> Iterator[Finding]:
    """Look for weights that are all zero: where they began so, no gradient has come to them."""
    dead = [
        name.removesuffix(".weight")
        for name, weight in patient.model.named_parameters()
        if weight.dim() > 1 and not weight.any()
    ]
    if dead and patient.position is not None and patient.position.step > FIRST_STEPS:
        yield Finding(
            "dead branch",
            "A part of the network gives nothing.",
            f"the weights of {', '.join(dead[:3])}{' and more' if len(dead) > 3 else ''} are all zero after "
            f"{patient.position.step:,} steps; normal is none",
            "look at whether what enters there is ever anything but zero",
            "the network uses all that it has",
            0.45,
            {"dead": len(dead)},
        )


def _time(patient: Patient) -> Iterator[Finding]:
    levels, held_out = levels_of(patient.schedule, 6)[1:-1], patient.splits.held_out
    own = errors(patient.asked(patient.predict(), held_out, levels, count=24)).mean(1)
    turned = {float(here.t): there.t for here, there in zip(levels, [*levels[2:], *levels[:2]])}

    def other(level: NoiseLevel) -> torch.Tensor:
        return turned[float(level.t)]

    exchanged = errors(patient.asked(patient.predict(time=other), held_out, levels, count=24)).mean(1)
    grown = float((exchanged / own).log().abs().mean().exp())
    if grown < LEAST:
        yield Finding(
            "time",
            "The network does not hear the time.",
            f"told the time of another level its error changes by a factor of {grown:.3f}; normal is 1.5 and "
            "far more",
            "use a network that is told the time, in [0, 1] (--set network.kind=unet), and train again",
            "at every level it removes the noise of that level, and not of all in the mean",
            0.85,
            {"grown": grown},
        )


def _told(patient: Patient) -> Iterator[Finding]:
    for name, one in patient.config.told.items():
        if one.kind == "picture" or name == AUGMENTATION:  # which held-out images have none of
            continue
        levels, held_out = levels_of(patient.schedule, 8)[1:4], patient.splits.held_out

        def turned(condition: Condition, name: str = name) -> Condition:
            value, hidden = condition.parts[name]
            return Condition({**condition.parts, name: (value.roll(1, 0), hidden.roll(1, 0))})

        own = errors(patient.asked(patient.predict(), held_out, levels, count=128)).mean(1)
        other = errors(patient.asked(patient.predict(), held_out, levels, count=128, told=turned)).mean(1)
        grown = float((other / own).log().mean().exp())
        if grown < 1.005:
            yield Finding(
                f"{name} not heard",
                f"The network does not heed its {name}.",
                f"told another image's its error grows by {grown - 1:.1%} in much noise; normal is 2 % and more",
                "train longer; where labels are right and it stays so, look at the network's socket for it",
                "images show what they are asked for",
                0.75,
                {"grown": grown},
            )
