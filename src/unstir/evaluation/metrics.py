"""The metrics by name; light, so that a wrong name is answered before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from unstir.errors import InputError, nearest
from unstir.evaluation.backbones.names import CLASSIFIER, EFFICIENTNET, INCEPTION, BackboneName


@dataclass(frozen=True)
class Metric:
    """A figure of samples.

    Attributes:
        about: What it says, in half a sentence.
        needs: What of a reading it is made from: ``moments`` and ``spatial`` (statistics of features),
            ``features`` (of some images), ``probabilities`` (of all), ``answers`` (of a classifier, counted),
            ``nearest`` (training images).
        backbone: What reads the images, where the metric is defined by it; None for what is asked for.
        beside: How what real images score is called behind the metric's name; "" where they are not measured.
    """

    about: str
    needs: frozenset[str]
    backbone: str | None = None
    beside: str = ""


HELD_OUT, TRAIN = "held-out", "train"
AGAINST: dict[str, str] = {HELD_OUT: "held-out", TRAIN: "training"}
"""What samples are measured against, and how such images are called."""


def check_against(against: str) -> None:
    """Raise an `InputError` if samples cannot be measured against such images."""
    if against not in AGAINST:
        raise InputError(
            f"samples are measured against {' or '.join(AGAINST)} images, not '{against}'"
            f"{nearest(against, [*AGAINST])}"
        )


def _metric(about: str, needs: str, backbone: str | None = None, beside: str = "") -> Metric:
    return Metric(about, frozenset(needs.split()), backbone, beside)


METRICS: dict[str, Metric] = {
    "fcd": _metric(
        "Fréchet distance between samples and real images on a classifier's features; lower is better",
        "moments",
        CLASSIFIER,
        "floor",
    ),
    "accuracy": _metric(
        "share of samples that a classifier reads as the label they were asked for; higher is better",
        "answers",
        CLASSIFIER,
    ),
    "recall": _metric(
        "share of real images within reach of samples, on the same features; higher is better",
        "features",
        beside="ceiling",
    ),
    "classes": _metric(
        "effective number of classes in the samples: how many of equal size would be as varied",
        "answers",
        CLASSIFIER,
    ),
}
"""What is measured if nothing else is said."""

OTHERS: dict[str, Metric] = {
    "fid": _metric("Fréchet distance on Inception's features; lower is better", "moments", INCEPTION, "floor"),
    "sfid": _metric(
        "Fréchet distance on Inception's features of where things are; lower is better",
        "spatial",
        INCEPTION,
        "floor",
    ),
    "kid": _metric(
        "kernel distance on Inception's features, unbiased; lower is better", "features", INCEPTION, "floor"
    ),
    "is": _metric(
        "Inception score: sure each, and varied together; higher is better", "probabilities", INCEPTION, "ceiling"
    ),
    "fd": _metric("Fréchet distance on the backbone's features; lower is better", "moments", None, "floor"),
    "kd": _metric("kernel distance on them, unbiased; lower is better", "features", None, "floor"),
    "precision": _metric(
        "share of samples within reach of real images; higher is better", "features", None, "ceiling"
    ),
    "density": _metric(
        "how many real images' reach a sample lies in, of what is expected: about 1 is best",
        "features",
        None,
        "ceiling",
    ),
    "coverage": _metric(
        "share of real images with a sample in their reach; higher is better", "features", None, "ceiling"
    ),
    "memorization": _metric(
        "share of samples that copy a training image; no more than of held-out ones is best",
        "features nearest",
        None,
        "control",
    ),
}
"""What else can be said of samples by any backbone, or by Inception."""

LIKELIHOODS: dict[str, str] = {
    "bpd": "bits for each dimension of held-out images, at most, by the variational bound; lower is better",
    "bpd_ode": "the same by the probability-flow ODE, slowly; lower is better",
}
"""Metrics that need no samples and no labels."""

ALONE: dict[str, str] = {
    "restoration": "PSNR, SSIM and a distance of restored held-out images, of a run that is told degraded ones",
    "reconstruction": "PSNR, SSIM and distances of held-out images that come back from their codes, of a codec",
    "attributes": "share of what captions of scenes state that pictures show, of a run that is told them",
}
"""Metrics of some runs only; they need no labels, and stand alone."""

OF_SAMPLES: dict[str, Metric] = METRICS | OTHERS


def check(metrics: Iterable[str]) -> None:
    """Raise an `InputError` that names the nearest known metric if one of ``metrics`` is unknown."""
    for metric in metrics:
        known = [*OF_SAMPLES, *LIKELIHOODS, *ALONE]
        if metric not in known:
            raise InputError(
                f"no metric is called '{metric}' (there are {', '.join(known)}){nearest(metric, known)}"
            )


def by_backbone(
    metrics: Iterable[str], asked: str | None = None, labelled: bool = True
) -> dict[BackboneName, list[str]]:
    """Return the metrics of samples by what reads the images for them.

    Args:
        metrics: Names; those of no samples are left out.
        asked: The backbone of the metrics that take any, ``NAME`` or ``NAME@PATH``; None for the classifier, or of
            a set without labels EfficientNet-Lite0.
        labelled: Whether the set has labels.

    Raises:
        InputError: If there is no such backbone.
    """
    chosen = BackboneName.parse(asked or (CLASSIFIER if labelled else EFFICIENTNET))
    found: dict[BackboneName, list[str]] = {}
    for name in metrics:
        if name in OF_SAMPLES:
            own = OF_SAMPLES[name].backbone
            reader = chosen if own in (None, chosen.name) else BackboneName(own)
            found.setdefault(reader, []).append(name)
    return found
