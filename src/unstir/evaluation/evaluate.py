"""What samples are worth, in figures: how far they lie from real images, and whether they heed their labels.

Both are read by the set's own classifier (`unstir.evaluation.classifier`), so they need no download and fit digits
as well as photographs; they compare models of one set, and are no Inception FID.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from unstir.errors import InputError
from unstir.evaluation.classifier import classifier_for, extract
from unstir.evaluation.frechet import frechet_distance, statistics
from unstir.evaluation.metrics import METRICS, check

if TYPE_CHECKING:
    from unstir.data.dataset import ImageData, Splits


def measure(
    samples: Tensor,
    labels: Tensor | None,
    splits: Splits,
    metrics: Sequence[str] = tuple(METRICS),
    progress: bool = True,
) -> dict[str, float | int | str]:
    """Measure samples against the held-out images of a labelled set.

    Samples are rounded to 8 bits first, as they would be saved. The classifier comes from the cache or is trained.

    Args:
        samples: (N, C, H, W), float32 in [-1, 1]; values beyond are clipped.
        labels: (N,) int64, the class indices that the samples were asked for; None if the model takes no label.
        splits: the set that the model was trained on.
        metrics: names out of ``METRICS``.
        progress: show progress bars, if standard error is a terminal.

    Returns:
        Always ``samples``, ``reference_images`` (how many held-out images), ``classifier_accuracy`` (on them, in
        [0, 1]) and ``confidence`` (the share of samples that the classifier reads with a probability over 0.9).
        With ``fcd`` also ``fcd_floor``: the distance of as many training images (all of them, if there are
        fewer) to the same held-out images, which is what samples as good as real images would score at this N;
        both fall with N, so compare at equal N. With ``accuracy`` the share of samples read as their label, in
        [0, 1]; without labels ``accuracy_absent`` stands in its place, a sentence that says why.

    Raises:
        InputError: an unknown metric, a set without labels, or samples and labels that do not fit the set.
    """
    _check(samples, labels, splits, metrics)
    train, held_out = splits.train, splits.held_out
    classifier = classifier_for(splits, progress)
    pixels = ((samples.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    features, probabilities = extract(classifier, pixels, progress=progress)
    real_features, real_probabilities = extract(classifier, held_out, progress=progress)

    report: dict[str, float | int | str] = {
        "samples": len(samples),
        "reference_images": len(held_out),
        "classifier_accuracy": float((real_probabilities.argmax(axis=1) == held_out.labels).mean()),
        "confidence": float((probabilities.max(axis=1) > 0.9).mean()),
    }
    if "fcd" in metrics:
        real = statistics(real_features)
        report["fcd"] = frechet_distance(*statistics(features), *real)
        chosen, _ = extract(classifier, _some(train, len(samples)), progress=progress)
        report["fcd_floor"] = frechet_distance(*statistics(chosen), *real)
    if "accuracy" in metrics:
        if labels is None:
            report["accuracy_absent"] = "the samples were drawn without labels, so there is none to be right about"
        else:
            report["accuracy"] = float((probabilities.argmax(axis=1) == labels.cpu().numpy()).mean())
    return report


def _some(data: ImageData, count: int) -> Tensor:
    """Return ``count`` images of the set, always the same for one count, or all of them if there are fewer."""
    chosen = np.random.default_rng(0).permutation(len(data))[:count]
    return data.batch(np.sort(chosen))[0]


def _check(samples: Tensor, labels: Tensor | None, splits: Splits, metrics: Sequence[str]) -> None:
    held_out = splits.held_out
    check(metrics)
    if splits.train.labels is None or held_out.labels is None:
        asked = ", ".join(metrics)
        raise InputError(f"'{held_out.name}' has no labels, and {asked} need a labelled set (for now)")
    if samples.ndim != 4 or tuple(samples.shape[1:]) != tuple(held_out.shape):
        shape, asked = tuple(samples.shape), ", ".join(map(str, held_out.shape))
        raise InputError(f"the samples are {shape}, but the images of '{held_out.name}' ask for (N, {asked})")
    if len(samples) < 2:
        raise InputError(f"{len(samples)} samples are too few to measure; 2 is the least, 1,000 is a good number")
    if not torch.isfinite(samples).all():
        raise InputError("the samples hold a NaN or an infinity; only finite images can be measured")
    if labels is None:
        return
    classes = held_out.num_classes
    if labels.shape != (len(samples),):
        raise InputError(f"{len(samples)} samples need as many labels, not labels of {tuple(labels.shape)}")
    if labels.is_floating_point() or labels.min() < 0 or labels.max() >= classes:
        raise InputError(f"labels must be class indices from 0 to {classes - 1} for '{held_out.name}'")
