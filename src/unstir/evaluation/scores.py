"""Each metric as a function of what was read: the figure, how sure it is, and what real images score.

Beside a figure ``x`` stand, where they are to be had: ``x_low`` and ``x_high``, its 95 % interval by resampling
(:mod:`unstir.evaluation.bootstrap`); ``x_floor``, ``x_ceiling`` or ``x_control``, what real images score in the
samples' place; ``x_warning``, a sentence, where the images are too few to say much; and ``x_absent`` in place of a
figure that cannot be.

Figures of different numbers of images are not comparable, so real images stand beside samples only at an equal
number. ``fcd_floor`` alone is given of fewer, if there are no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from unstir.errors import counted
from unstir.evaluation.bootstrap import interval, of_mean, weights
from unstir.evaluation.coverage import (
    AROUND,
    NEIGHBOURS,
    covered,
    dense,
    effective_classes,
    precise,
    recalled,
)
from unstir.evaluation.frechet import Statistics, distance, influences
from unstir.evaluation.inception_score import SPLITS, inception_scores, score_interval
from unstir.evaluation.kernel import SIZE, kernel_distances, kernel_interval
from unstir.evaluation.memorization import Nearest
from unstir.evaluation.metrics import OF_SAMPLES
from unstir.evaluation.reading import Reading

Figures = dict[str, float | int | str]

FEW = 1000
"""Below as many images the balls around them are wide, and figures of neighbours tell more of their number."""


@dataclass(frozen=True)
class Readings:
    """What one backbone has read.

    Attributes:
        drawn: In samples.
        real: In held-out images.
        training: In as many training images as there are samples, or in all if there are fewer.
        copies: The training images nearest to samples, and those nearest to held-out images, if that is asked.
    """

    drawn: Reading
    real: Reading
    training: Reading
    copies: tuple[Nearest, Nearest] | None = None


def scores(metric: str, read: Readings) -> Figures:
    """Return the figures of a metric."""
    return _SCORES[metric](metric, read)


def _frechet(metric: str, read: Readings, part: str = "moments", some: str = "features") -> Figures:
    """Return the distance between statistics; ``some`` is of which samples' rows its interval is made."""
    drawn, real, training = (getattr(one, part) for one in (read.drawn, read.real, read.training))
    if real.count < 2:
        return {f"{metric}_absent": "one held-out image has no covariance; 2 are the least"}
    value = distance(drawn, real)
    found: Figures = {metric: value}
    rows = getattr(read.drawn, some)
    if len(rows) > 1:
        moved = influences(rows.array(), drawn, real)
        # Of some of the samples: all of them are so many times as sure.
        spread = (len(moved) / drawn.count) ** 0.5
        low, high = interval(value, spread * (weights(len(moved)) @ moved) / len(moved))
        found |= {f"{metric}_low": max(low, 0.0), f"{metric}_high": high}
    if training.count == drawn.count or (metric == "fcd" and training.count > 1):
        found[f"{metric}_floor"] = distance(training, real)
    else:
        found[f"{metric}_floor_absent"] = _fewer(training.count, drawn.count)
    return found | _too_few_for(metric, drawn, real)


def _too_few_for(metric: str, drawn: Statistics, real: Statistics) -> Figures:
    width, few = len(drawn.mean), min(drawn.count, real.count)
    if few > width:
        return {}
    which = "samples" if drawn.count <= real.count else "held-out images"
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
    drawn, real, training = (one.features.array() for one in (read.drawn, read.real, read.training))
    size = min(SIZE, len(drawn), len(real))
    if size < 2:
        return {f"{metric}_absent": f"of {counted(size, 'image')} there is no kernel distance; 2 is the least"}
    values = kernel_distances(real, drawn, size=size)
    found = _of_parts(metric, values, kernel_interval(real, drawn, float(values.mean())))
    if len(training) == len(drawn):
        found[f"{metric}_floor"] = float(kernel_distances(real, training, size=size).mean())
    else:
        found[f"{metric}_floor_absent"] = _fewer(len(training), len(drawn))
    if size < SIZE:
        found[f"{metric}_warning"] = f"its subsets are of {size:,} images, as there are no more, not of {SIZE:,}"
    return found


def _score(metric: str, read: Readings) -> Figures:
    drawn, training = (one.probabilities.array() for one in (read.drawn, read.training))
    if len(drawn) < SPLITS:
        return {f"{metric}_absent": f"{counted(len(drawn), 'sample')} cannot be cut into {SPLITS} parts"}
    values = inception_scores(drawn)
    found = _of_parts(metric, values, score_interval(drawn, float(values.mean())))
    if len(training) == len(drawn):
        found[f"{metric}_ceiling"] = float(inception_scores(training).mean())
    else:
        found[f"{metric}_ceiling_absent"] = _fewer(len(training), len(drawn))
    part, classes = len(drawn) // SPLITS, drawn.shape[1]
    if part < classes:
        found[f"{metric}_warning"] = f"parts of {part:,} samples cannot show {classes:,} classes: it is too low"
    return found


_Neighbours = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _neighbours(values: _Neighbours, least: int, around: str, metric: str, read: Readings) -> Figures:
    """Return the mean of what neighbours say of each image; balls are ``around`` samples or real images."""
    drawn, real, training = (one.features.array() for one in (read.drawn, read.real, read.training))
    centres = min(len(drawn), len(training)) if around == "samples" else len(real)
    if centres < least:
        which = counted(centres, "sample" if around == "samples" else "held-out image")
        return {f"{metric}_absent": f"{which} {'is' if centres == 1 else 'are'} too few; {least} is the least"}
    each = values(real, drawn)
    low, high = of_mean(each)
    found: Figures = {metric: float(each.mean()), f"{metric}_low": low, f"{metric}_high": high}
    if len(training) == len(drawn):
        found[f"{metric}_ceiling"] = float(values(real, training).mean())
    else:
        found[f"{metric}_ceiling_absent"] = _fewer(len(training), len(drawn))
    few = min(len(drawn), len(real))
    if few < FEW:
        found[f"{metric}_warning"] = f"{few:,} images are few to tell by neighbours; {FEW:,} is a good number"
    return found


def _memorization(metric: str, read: Readings) -> Figures:
    if read.copies is None:
        return {f"{metric}_absent": "of one training image there is no second nearest"}
    samples, held_out = read.copies
    low, high = of_mean(samples.copies())
    control_low, control_high = of_mean(held_out.copies())
    return {
        metric: float(samples.copies().mean()),
        f"{metric}_low": low,
        f"{metric}_high": high,
        f"{metric}_control": float(held_out.copies().mean()),
        f"{metric}_control_low": control_low,
        f"{metric}_control_high": control_high,
        f"{metric}_ratio": float(np.median(samples.ratios())),
        f"{metric}_control_ratio": float(np.median(held_out.ratios())),
    }


def _accuracy(metric: str, read: Readings) -> Figures:
    if read.drawn.labelled:
        return {metric: read.drawn.right / read.drawn.labelled}
    return {f"{metric}_absent": "the samples were drawn without labels, so there is none to be right about"}


def _classes(metric: str, read: Readings) -> Figures:
    return {metric: effective_classes(read.drawn.classes / read.drawn.count)}


def _fewer(there: int, wanted: int) -> str:
    return f"there are {there:,} training images for {wanted:,} samples, and figures of fewer are not comparable"


_SCORES: dict[str, Callable[[str, Readings], Figures]] = {
    "fcd": _frechet,
    "fid": _frechet,
    "fd": _frechet,
    "sfid": partial(_frechet, part="spatial", some="places"),
    "kid": _kernel,
    "kd": _kernel,
    "is": _score,
    "precision": partial(_neighbours, precise, NEIGHBOURS + 1, "real"),
    "recall": partial(_neighbours, recalled, NEIGHBOURS + 1, "samples"),
    "density": partial(_neighbours, dense, AROUND + 1, "real"),
    "coverage": partial(_neighbours, covered, AROUND + 1, "real"),
    "memorization": _memorization,
    "accuracy": _accuracy,
    "classes": _classes,
}
assert _SCORES.keys() == OF_SAMPLES.keys()
