"""The metrics by name; light, so that a wrong name is answered before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable

from unstir.errors import InputError, nearest

METRICS: dict[str, str] = {
    "fcd": "Fréchet distance between samples and held-out images on a classifier's features; lower is better",
    "accuracy": "share of samples that a classifier reads as the label they were asked for; higher is better",
}


def check(metrics: Iterable[str]) -> None:
    """Raise an `InputError` that names the nearest known metric if one of ``metrics`` is unknown."""
    for metric in metrics:
        if metric not in METRICS:
            known = list(METRICS)
            raise InputError(
                f"no metric is called '{metric}' (there are {', '.join(known)}){nearest(metric, known)}"
            )
