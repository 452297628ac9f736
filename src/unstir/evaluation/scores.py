"""Each metric as a function of what was read: the figure, how sure it is, and what real images score.

Beside a figure ``x`` stand, where they are to be had: ``x_low`` and ``x_high``, its 95 % interval by resampling
(:mod:`unstir.evaluation.bootstrap`); ``x_floor``, ``x_ceiling`` or ``x_control``, what real images score in the
samples' place; ``x_warning``, a sentence, where the images are too few to say much; and ``x_absent`` in place of a
figure that cannot be.

Figures of different numbers of images are not comparable, so real images stand beside samples only at an equal
number: those of the set that are not the reference. Of few real images there is no interval: resampling knows
nothing of those that are not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from unstir.errors import counted
from unstir.evaluation.bootstrap import interval, of_mean, weights
from unstir.evaluation.coverage import AROUND, NEIGHBOURS, Surroundings, effective_classes
from unstir.evaluation.frechet import Statistics, distance, influences
from unstir.evaluation.inception_score import SPLITS, inception_scores, score_interval
from unstir.evaluation.kernel import SIZE, kernel_distances, kernel_interval
from unstir.evaluation.memorization import Nearest
from unstir.evaluation.metrics import AGAINST, OF_SAMPLES
from unstir.evaluation.reading import Reading

Figures = dict[str, float | int | str]

FEW = 1000
"""Below as many images the balls around them are wide, and figures of neighbours tell more of their number."""

FEW_REAL = 50
"""Below as many real images a figure depends on which they are more than on the samples."""

_COMPARED = ("fcd", "fid", "fd", "sfid", "kid", "kd", "precision", "recall", "density", "coverage")
"""Metrics that hold samples against the reference."""

_LEAST = {
    "precision": NEIGHBOURS + 1,
    "recall": NEIGHBOURS + 1,
    "density": AROUND + 1,
    "coverage": AROUND + 1,
}
"""How many real images a metric of neighbours asks for at least, and recall how many samples."""


@dataclass(frozen=True)
class Readings:
    """What one backbone has read.

    Attributes:
        drawn: In samples.
        real: In the reference.
        other: In as many of the other real images as there are samples, or in all if there are fewer.
        against: Which images are the reference, ``held-out`` or ``train``.
        metrics: All that are made of it.
        copies: The training images nearest to samples, and those nearest to held-out images, if that is asked.
        progress: Whether to show progress bars.
    """

    drawn: Reading
    real: Reading
    other: Reading
    against: str
    metrics: Sequence[str]
    copies: tuple[Nearest, Nearest] | None = None
    progress: bool = False

    @property
    def names(self) -> tuple[str, str]:
        """How images of the reference and the other real images are called."""
        mine = AGAINST[self.against]
        return mine, next(name for name in AGAINST.values() if name != mine)

    @cached_property
    def around(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """What neighbours say of each image with samples, and with the other real images if they are as many."""
        drawn, real, other = (one.features.array() for one in (self.drawn, self.real, self.other))
        wanted = [name for name in self.metrics if name in _LEAST and not self.lacking(name)]
        surroundings = Surroundings(real, progress=self.progress)
        return surroundings.of(drawn, wanted), surroundings.of(other, wanted) if len(other) == len(drawn) else {}

    def lacking(self, metric: str) -> str:
        """Return why there are too few images for a metric of neighbours, "" where there are enough."""
        count, name = len(self.real.features), f"{self.names[0]} image"
        if metric == "recall":
            count, name = min(len(self.drawn.features), len(self.other.features)), "sample"
        if count >= _LEAST[metric]:
            return ""
        return f"{counted(count, name)} {'is' if count == 1 else 'are'} too few; {_LEAST[metric]} is the least"


def scores(metric: str, read: Readings) -> Figures:
    """Return the figures of a metric."""
    found, count = _SCORES[metric](metric, read), read.real.count
    if metric not in _COMPARED or metric not in found or count >= FEW_REAL:
        return found
    few = f"{counted(count, f'{read.names[0]} image')} are few: the figure depends on which, and has no interval"
    known = found.pop(f"{metric}_warning", "")
    ends = (f"{metric}_low", f"{metric}_high")
    return {name: value for name, value in found.items() if name not in ends} | {
        f"{metric}_warning": f"{few}; {known}" if known else few
    }


def _frechet(metric: str, read: Readings, part: str = "moments", some: str = "features") -> Figures:
    """Return the distance between statistics; ``some`` is of which samples' rows its interval is made."""
    drawn, real, other = (getattr(one, part) for one in (read.drawn, read.real, read.other))
    if real.count < 2:
        return {f"{metric}_absent": f"one {read.names[0]} image has no covariance; 2 are the least"}
    value = distance(drawn, real)
    found: Figures = {metric: value}
    rows = getattr(read.drawn, some)
    if len(rows) > 1:
        moved = influences(rows.array(), drawn, real)
        # Of some of the samples: all of them are so many times as sure.
        spread = (len(moved) / drawn.count) ** 0.5
        low, high = interval(value, spread * (weights(len(moved)) @ moved) / len(moved))
        found |= {f"{metric}_low": max(low, 0.0), f"{metric}_high": high}
    if other.count == drawn.count:
        found[f"{metric}_floor"] = distance(other, real)
    else:
        found[f"{metric}_floor_absent"] = _fewer(other.count, drawn.count, read)
    return found | _too_few_for(metric, drawn, real, read.names[0])


def _too_few_for(metric: str, drawn: Statistics, real: Statistics, name: str) -> Figures:
    width, few = len(drawn.mean), min(drawn.count, real.count)
    if few > width:
        return {}
    which = "samples" if drawn.count <= real.count else f"{name} images"
    return {
        f"{metric}_warning": f"{few:,} {which} are no more than the {width:,} features, whose covariance needs "
        "more: the distance is mostly bias, and says something only beside its floor"
    }


def _of_parts(metric: str, values: np.ndarray, ends: tuple[float, float]) -> Figures:
    """Return the mean of a figure's parts, the ends of its interval, and how far the parts are apart."""
    low, high = ends
    return {
        metric: float(values.mean()),
        f"{metric}_low": low,
        f"{metric}_high": high,
        f"{metric}_deviation": float(values.std()),
    }


def _kernel(metric: str, read: Readings) -> Figures:
    drawn, real, other = (one.features.array() for one in (read.drawn, read.real, read.other))
    size = min(SIZE, len(drawn), len(real))
    if size < 2:
        return {f"{metric}_absent": f"of {counted(size, 'image')} there is no kernel distance; 2 is the least"}
    values = kernel_distances(real, drawn, size=size)
    found = _of_parts(metric, values, kernel_interval(real, drawn, float(values.mean())))
    if len(other) == len(drawn):
        found[f"{metric}_floor"] = float(kernel_distances(real, other, size=size).mean())
    else:
        found[f"{metric}_floor_absent"] = _fewer(len(other), len(drawn), read)
    if size < SIZE:
        found[f"{metric}_warning"] = f"its subsets are of {size:,} images, as there are no more, not of {SIZE:,}"
    return found


def _score(metric: str, read: Readings) -> Figures:
    drawn, other = (one.probabilities.array() for one in (read.drawn, read.other))
    if len(drawn) < SPLITS:
        return {f"{metric}_absent": f"{counted(len(drawn), 'sample')} cannot be cut into {SPLITS} parts"}
    values = inception_scores(drawn)
    found = _of_parts(metric, values, score_interval(drawn, float(values.mean())))
    if len(other) == len(drawn):
        found[f"{metric}_ceiling"] = float(inception_scores(other).mean())
    else:
        found[f"{metric}_ceiling_absent"] = _fewer(len(other), len(drawn), read)
    part, classes = len(drawn) // SPLITS, drawn.shape[1]
    if part < classes:
        found[f"{metric}_warning"] = f"parts of {part:,} samples cannot show {classes:,} classes: it is too low"
    return found


def _neighbours(metric: str, read: Readings) -> Figures:
    """Return the mean of what neighbours say of each image."""
    lacking = read.lacking(metric)
    if lacking:
        return {f"{metric}_absent": lacking}
    of_samples, of_others = (around.get(metric) for around in read.around)
    assert of_samples is not None
    low, high = of_mean(of_samples)
    found: Figures = {metric: float(of_samples.mean()), f"{metric}_low": low, f"{metric}_high": high}
    if of_others is not None:
        found[f"{metric}_ceiling"] = float(of_others.mean())
    else:
        there, wanted = len(read.other.features), len(read.drawn.features)
        found[f"{metric}_ceiling_absent"] = _fewer(there, wanted, read)
    few = min(len(read.drawn.features), len(read.real.features))
    if few < FEW:
        found[f"{metric}_warning"] = f"{few:,} images are few to tell by neighbours; {FEW:,} is a good number"
    return found


def _memorization(metric: str, read: Readings) -> Figures:
    if read.copies is None:
        return {f"{metric}_absent": "of one training image there is no second nearest"}
    samples, held_out = read.copies
    low, high = of_mean(samples.copies())
    control_low, control_high = of_mean(held_out.copies())
    known = len(held_out.distances) >= FEW_REAL
    ends = {f"{metric}_control_low": control_low, f"{metric}_control_high": control_high} if known else {}
    return {
        metric: float(samples.copies().mean()),
        f"{metric}_low": low,
        f"{metric}_high": high,
        f"{metric}_control": float(held_out.copies().mean()),
        **ends,
        f"{metric}_ratio": float(np.median(samples.ratios())),
        f"{metric}_control_ratio": float(np.median(held_out.ratios())),
    }


def _accuracy(metric: str, read: Readings) -> Figures:
    if read.drawn.labelled:
        return {metric: read.drawn.right / read.drawn.labelled}
    return {f"{metric}_absent": "the samples were drawn without labels, so there is none to be right about"}


def _classes(metric: str, read: Readings) -> Figures:
    return {metric: effective_classes(read.drawn.classes / read.drawn.count)}


def _fewer(there: int, wanted: int, read: Readings) -> str:
    name = read.names[1]
    return f"there are {there:,} {name} images for {wanted:,} samples, and figures of fewer are not comparable"


_SCORES: dict[str, Callable[[str, Readings], Figures]] = {
    "fcd": _frechet,
    "fid": _frechet,
    "fd": _frechet,
    "sfid": partial(_frechet, part="spatial", some="places"),
    "kid": _kernel,
    "kd": _kernel,
    "is": _score,
    "precision": _neighbours,
    "recall": _neighbours,
    "density": _neighbours,
    "coverage": _neighbours,
    "memorization": _memorization,
    "accuracy": _accuracy,
    "classes": _classes,
}
assert _SCORES.keys() == OF_SAMPLES.keys()
