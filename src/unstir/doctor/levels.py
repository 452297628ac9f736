r"""The loss at each level of noise, between what is broken and what is learned by heart.

The ceiling is the best linear denoiser's error (:mod:`unstir.doctor.gaussian`); a network above it has learned
next to nothing, or is read as what it is not. Which of the two other readings tell: of its output, its levels, its
pixels. One under which the error falls below the ceiling is what the network was trained for. The floor is the
exact denoiser of the training set (:class:`unstir.diffusion.exact.IdealDenoiser`), which can only repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from matplotlib.figure import Figure
from torch import Tensor

from unstir.diffusion.config import DiffusionConfig, ScheduleConfig
from unstir.diffusion.exact import IdealDenoiser
from unstir.doctor.finding import Finding
from unstir.doctor.patient import Patient, errors, levels_of
from unstir.doctor.pictures import curves
from unstir.doctor.spectrum import spectrum
from unstir.sampling import SeededNoise

TRIED_LEVELS, TRIED_IMAGES = 5, 24
BROKEN, WEAK = 1.3, 0.95
"""Errors over the ceiling, in the mean over levels: from which on a network is broken, and hardly trained."""
HIDDEN, DROWNED = (1.0, 5.0), 1.5
"""From which sigma / alpha on noise hides the image, and up to which samples hang on what is believed; and from
which error on, over that of the mean of all images, what is believed is no help."""
FIRST_STEPS, FALLING = 200, -0.2
"""Steps in which no network knows much, and the power of the images seen as which the loss of such a one falls."""
KNOWN = 0.2
"""The share of the data's variance that the ceiling has where errors are looked at by how fine they are."""
TRUSTED = 0.5
"""The error over the ceiling under which no other reading is tried."""
BETTER = 0.85
"""By what the error falls, at least, where another reading is the right one."""


def ratio(errors: Tensor, ceiling: Tensor, variance: float) -> float:
    """Return the geometric mean of errors over their ceiling (L,), where there is something to know."""
    telling = (ceiling < 0.9 * variance) & (ceiling > 1e-6)
    telling = telling if telling.any() else torch.ones_like(telling)
    return float((errors / ceiling).clamp(min=1e-6)[telling].log().mean().exp())


def own_ratio(patient: Patient) -> float:
    """Return the run's own error over the ceiling."""
    return ratio(patient.loss, patient.ceiling, patient.gaussian.variance)


def check(patient: Patient) -> Iterator[Finding]:
    """Hold the loss of each level against its bounds."""
    found, tried = own_ratio(patient), _tried(patient, None)
    best = None if patient.brief or tried < TRUSTED else min(readings(patient), key=lambda reading: reading.ratio)
    if best and best.ratio < BETTER * tried and best.ratio < WEAK:
        yield Finding(
            best.cause,
            best.what,
            f"so read, its error is {best.ratio:.2f} of a linear denoiser's; as it stands {tried:.2f}, and a "
            "trained network has less than 1",
            best.remedy,
            "the network's predictions mean what the sampler takes them for",
            1.0 if tried > WEAK else 0.85,
            {"error": tried, "error so read": best.ratio},
        )
        return
    yield from _noise_predicted(patient)
    begun = patient.position is not None and patient.position.step < FIRST_STEPS
    if found > BROKEN and not begun and patient.power > FALLING:
        yield Finding(
            "broken",
            "The network is worse than a linear denoiser: its training went wrong.",
            f"its error is {found:.2f} of the linear denoiser's, {_where(patient)}; a trained network has under 1",
            "train again, at a third of the learning rate (see the other findings first)",
            "the loss falls below the linear denoiser's in the first minutes",
            0.8,
            {"error": found},
            partial(_picture, patient),
        )
    elif found > WEAK:
        yield Finding(
            "hardly trained",
            "The network has hardly learned more than a linear denoiser knows.",
            f"its error is {found:.2f} of the linear denoiser's; a trained network has 0.3 to 0.8",
            f"unstir train {patient.begun.recipe if patient.begun else 'RECIPE'} --for 1h",
            "samples become more than coloured clouds",
            0.9 if begun else 0.8 if patient.power < FALLING and found > BROKEN else 0.6,
            {"error": found},
            partial(_picture, patient),
        )
    else:
        yield from _detail(patient)
    yield from _memorized(patient)


def _noise_predicted(patient: Patient) -> Iterator[Finding]:
    """See whether an error in the predicted noise, times sigma / alpha in the image, drowns the image.

    As x_t = alpha x0 + sigma eps, a wrong eps makes x0 wrong by sigma / alpha times as much.
    """
    if patient.diffusion.parameterization not in ("eps", "score"):
        return
    off = (patient.loss / patient.gaussian.variance).tolist()
    ratios = [float(level.sigma / level.alpha) for level in patient.levels]
    drowned = {at: value for at, value in zip(ratios, off) if HIDDEN[0] <= at <= HIDDEN[1] and value > DROWNED}
    if drowned:
        at = max(drowned, key=lambda each: drowned[each])
        yield Finding(
            "noise predicted",
            "The network predicts the noise, and where there is much of it, its error there drowns the image.",
            f"where sigma / alpha is {at:.2g}, its error in the image is {drowned[at]:.1f} times that of the mean "
            "of all images; a trained network has under 1 at every such level",
            "train to predict the velocity (--set diffusion.parameterization=v --set diffusion.objective=v), or "
            "far longer",
            "samples get the data's colours and large forms, and are no coloured noise",
            min(0.92, 0.4 + 0.25 * drowned[at]),
            {"error over variance": drowned[at], "at": at},
            partial(_picture, patient),
        )


def _detail(patient: Patient) -> Iterator[Finding]:
    """Look at the errors by how fine they are, at a level where there is much to know."""
    known = patient.ceiling / patient.gaussian.variance
    level = patient.levels[int((known - KNOWN).abs().argmin())]
    (one,) = patient.asked(patient.predict(), patient.splits.held_out, [level])
    linear = patient.gaussian.denoise(one.x, level)
    ours, theirs = spectrum(one.answer - one.x0), spectrum(linear - one.x0)
    over = (ours / theirs.clamp(min=1e-12)).tolist()
    worst = max(range(len(over)), key=lambda octave: over[octave])
    if over[worst] > 1.1:
        where = "the finest detail" if worst == len(over) - 1 else "large forms" if worst == 0 else "some forms"
        yield Finding(
            "detail not learned",
            f"Of {where} the network knows less than a linear denoiser.",
            f"its error there is {over[worst]:.2f} of the linear denoiser's, where sigma / alpha is "
            f"{float(level.sigma / level.alpha):.2g}; normal is under 1 everywhere",
            "train longer; for the finest also with smaller patches (--set network.patch=1)",
            "grain, grids of patches or forms that do not belong together go",
            0.25,
            {f"octave {octave}": value for octave, value in enumerate(over)},
            partial(
                curves,
                [2.0**octave for octave in range(len(over))],
                {"the network's error": ours.tolist(), "the linear denoiser's": theirs.tolist()},
                "detail, in octaves: fine to the right",
                "power of the error",
            ),
        )


def _picture(patient: Patient) -> Figure:
    """Draw the losses between their bounds."""
    lines = {
        "held-out images": patient.loss,
        "training images": patient.training_loss,
        "a linear denoiser": patient.ceiling,
    }
    return curves(
        [float(level.sigma / level.alpha) for level in patient.levels],
        {name: loss.tolist() for name, loss in lines.items()},
        "sigma / alpha",
        "mean squared error of x0",
    )


def _memorized(patient: Patient) -> Iterator[Finding]:
    middle = slice(len(patient.levels) // 3, -2)
    held, seen = patient.loss[middle], patient.training_loss[middle]
    gap = float((held / seen).log().mean().exp())
    if gap < 1.3:
        return
    images = patient.known[:64]
    ideal = IdealDenoiser(patient.known)
    noise = SeededNoise(range(patient.seed, patient.seed + len(images)))(images)
    floor = torch.stack(
        [
            ((ideal(level.noise(images, noise), level).x0 - images) ** 2).double().mean()
            for level in patient.levels[middle]
        ]
    )
    yield Finding(
        "memorized",
        "The network has learned its training images by heart.",
        f"its error on held-out images is {gap:.1f} times that on training ones; normal is 1.0 to 1.1",
        "train with dropout or mirrored images (--set network.dropout=0.1 --set data.flip=true), on more "
        "images, or stop earlier (checkpoints/quarter-1.safetensors is a model)",
        "drawings are no longer copies of training images",
        min(0.9, 0.35 + 0.25 * (gap - 1)),
        {"held-out over training": gap, "floor over training": float((floor / seen).mean())},
        partial(_picture, patient),
    )


@dataclass(frozen=True)
class Reading:
    """Another way to read a network.

    Attributes:
        cause: The name of what would be wrong.
        what: In a sentence.
        remedy: What to do.
        ratio: The error over the ceiling.
    """

    cause: str
    what: str
    remedy: str
    ratio: float


def readings(patient: Patient) -> Iterator[Reading]:
    """Yield the network read in other ways: its output, its levels, its pixels."""
    own = patient.diffusion
    for kind in ("eps", "x0", "v", "karras", "score"):
        if kind != own.parameterization and own.parameterization != "dual":
            other = own.model_copy(update={"parameterization": kind})
            yield Reading(
                "parameterization",
                f"The network's output is {kind}, and the model reads it as {own.parameterization}.",
                f"give the model the parameterization {kind}, or train again",
                _tried(patient, other),
            )
    for name in ("linear", "cosine", "quadratic", "sigmoid", "vp", "flow", "ve", "ladder"):
        if name != own.schedule.name:
            other = own.model_copy(update={"schedule": ScheduleConfig(name=name)})
            yield Reading(
                "schedule",
                f"The network was trained on the schedule {name}, and the model has {own.schedule.name}.",
                f"give the model the schedule {name}, or train again",
                _tried(patient, other),
            )
    for what, pixels, scale in PIXELS:
        if what != "with red and blue exchanged" or patient.splits.train.shape[0] == 3:
            yield Reading(
                "pixels",
                f"The network was trained on images {what}, and these are in [-1, 1].",
                "scale images as in training, or train again",
                _tried(patient, None, pixels, scale),
            )


PIXELS: tuple[tuple[str, Callable[[Tensor], Tensor], float], ...] = (
    ("in [0, 1]", lambda x: (x + 1) / 2, 0.5),
    ("in [0, 255]", lambda x: (x + 1) * 127.5, 127.5),
    ("that are inverted", lambda x: -x, 1.0),
    ("with red and blue exchanged", lambda x: x.flip(1), 1.0),
)


def _tried(
    patient: Patient,
    diffusion: DiffusionConfig | None,
    pixels: Callable[[Tensor], Tensor] = lambda x: x,
    scale: float = 1.0,
) -> float:
    """Return the error over the ceiling under another reading, on few levels and images."""
    schedule = patient.schedule if diffusion is None else diffusion.schedule.build()
    levels = levels_of(schedule, TRIED_LEVELS + 2)[1:-1]
    found = errors(
        patient.asked(
            patient.predict(diffusion), patient.splits.held_out, levels, count=TRIED_IMAGES, pixels=pixels
        )
    ).mean(1)
    if not found.isfinite().all():
        return float("inf")
    ceiling = torch.tensor([patient.gaussian.ceiling(level, scale) for level in levels], dtype=torch.float64)
    return ratio(found, ceiling, scale**2 * patient.gaussian.variance)


def _where(patient: Patient) -> str:
    """Say at which levels the error is above the ceiling."""
    above = [level for level, error, most in zip(patient.levels, patient.loss, patient.ceiling) if error > most]
    if len(above) == len(patient.levels) or not above:
        return "at all levels"
    noise = sorted(float(level.sigma / level.alpha) for level in above)
    return f"above it where sigma / alpha is {noise[0]:.2g} to {noise[-1]:.2g}"
