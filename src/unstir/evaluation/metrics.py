"""The metrics by name; light, so that a wrong name is answered before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable

from unstir.errors import InputError, nearest

METRICS: dict[str, str] = {
    "fcd": "Fréchet distance between samples and held-out images on a classifier's features; lower is better",
    "accuracy": "share of samples that a classifier reads as the label they were asked for; higher is better",
    "recall": "share of held-out images within reach of samples, on the same features; higher is better",
    "classes": "effective number of classes in the samples: how many of equal size would be as varied",
}

LIKELIHOODS: dict[str, str] = {
    "bpd": "bits for each dimension of held-out images, at most, by the variational bound; lower is better",
    "bpd_ode": "the same by the probability-flow ODE, slowly; lower is better",
}
"""Metrics that need no samples and no labels."""

ALONE: dict[str, str] = {
    "restoration": "PSNR, SSIM and a distance of restored held-out images, of a run that is told degraded ones",
    "attributes": "share of what captions of scenes state that pictures show, of a run that is told them",
}
"""Metrics of some runs only; they need no labels, and stand alone."""


def check(metrics: Iterable[str]) -> None:
    """Raise an `InputError` that names the nearest known metric if one of ``metrics`` is unknown."""
    for metric in metrics:
        known = [*METRICS, *LIKELIHOODS, *ALONE]
        if metric not in known:
            raise InputError(
                f"no metric is called '{metric}' (there are {', '.join(known)}){nearest(metric, known)}"
            )
