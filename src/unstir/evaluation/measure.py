"""What samples are worth, in figures: how far from real images, what they leave out, whether they heed labels.

All are read by the set's own classifier (`unstir.evaluation.ruler`), so they need no download and fit digits as
well as photographs; they compare models of one set, and are no Inception FID. Samples come as a stream: each
process measures its share, and no more than a batch is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from unstir.errors import InputError
from unstir.evaluation.coverage import NEIGHBOURS, effective_classes, recall
from unstir.evaluation.frechet import Statistics, distance
from unstir.evaluation.metrics import METRICS, check
from unstir.evaluation.ruler import ruler
from unstir.models.samples import Samples
from unstir.processes import gathered, processes
from unstir.progress import tracked

if TYPE_CHECKING:
    from unstir.data.dataset import ImageData, Splits
    from unstir.models.classifier import Classifier

BATCH = 500

RECALLED = 2000
"""Of how many samples and held-out images, at most, recall is measured: its cost grows as their square."""


class Reading:
    """What a classifier reads in images, a batch at a time.

    Attributes:
        features: Their statistics.
        confident: How many were read with a probability over 0.9.
        labelled: How many have a label.
        right: How many of these were read as it.
        classes: The sum of their class probabilities, float64 (K,).
        kept: The features of some of them, float64 (n, F) each.
    """

    def __init__(self) -> None:
        self.features = Statistics()
        self.confident = self.labelled = self.right = 0
        self.classes = np.zeros(())
        self.kept: list[np.ndarray] = []

    def add(self, classifier: Classifier, images: Tensor, labels: Tensor | None, keep: np.ndarray) -> None:
        """Read images (B, C, H, W) in [-1, 1].

        Args:
            classifier: What reads.
            images: At least one.
            labels: Theirs, int64 (B,), or None.
            keep: Whose features are kept, bool (B,).
        """
        features, probabilities = classifier.read(images)
        self.features.add(features.numpy())
        self.classes = self.classes + probabilities.sum(0).numpy()
        self.kept.append(features.numpy()[keep])
        self.confident += int((probabilities.amax(1) > 0.9).sum())
        if labels is not None:
            self.labelled += len(labels)
            self.right += int((probabilities.argmax(1) == labels.cpu()).sum())

    def merge(self, other: Reading) -> Reading:
        """Add what another has read, and return the reading."""
        self.features.merge(other.features)
        self.confident += other.confident
        self.labelled += other.labelled
        self.right += other.right
        self.classes = self.classes + other.classes
        self.kept += other.kept
        return self

    @property
    def count(self) -> int:
        """How many images were read."""
        return self.features.count


def measure(
    samples: Iterable[Samples],
    splits: Splits,
    metrics: Sequence[str] = tuple(METRICS),
    progress: bool = True,
) -> dict[str, float | int | str]:
    """Measure samples against the held-out images of a labelled set.

    Samples are rounded to 8 bits first, as they would be saved. The classifier comes from the cache or is trained.

    Args:
        samples: Images (N, C, H, W) as they are drawn, float32 in [-1, 1]; values beyond are clipped. Their labels
            are what they were asked for. Of several processes each gives its share, and all get the same answer.
            Those in a list are checked before a classifier is trained.
        splits: the set that the model was trained on.
        metrics: names out of ``METRICS``.
        progress: show progress bars, if standard error is a terminal.

    Returns:
        Always ``samples``, ``reference_images`` (how many held-out images), ``classifier_accuracy`` (on them, in
        [0, 1]) and ``confidence`` (the share of samples that the classifier reads with a probability over 0.9).
        With ``fcd`` also ``fcd_floor``: the distance of as many training images (all of them, if there are
        fewer) to the same held-out images, which is what samples as good as real images would score at this N;
        both fall with N, so compare at equal N. With ``accuracy`` the share of samples read as their label, in
        [0, 1]; without labels ``accuracy_absent`` stands in its place, a sentence that says why. With ``recall``
        that of the first 2,000 samples and of 2,000 held-out images, or of all if there are fewer, and
        ``recall_ceiling``, that of as many training images; of too few samples, ``recall_absent``. With
        ``classes`` the effective number of classes in the samples: of a model that is told labels, whether it
        heeds them; of one that is not, whether it leaves some out.

    Raises:
        InputError: an unknown metric, a set without labels, or samples and labels that do not fit the set.
    """
    check(metrics)
    train, held_out = splits.train, splits.held_out
    if train.labels is None or held_out.labels is None:
        asked = ", ".join(metrics)
        raise InputError(f"'{held_out.name}' has no labels, and {asked} need a labelled set (for now)")
    if isinstance(samples, Sequence):
        for part in samples:
            _check(part, held_out)
        _check_count(sum(gathered(sum(map(len, samples)))))
    classifier = ruler(splits)
    drawn = Reading()
    for part in samples:
        _check(part, held_out)
        images = ((part.tensor.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
        numbers = drawn.count + np.arange(len(images)) if part.indices is None else np.asarray(part.indices)
        drawn.add(classifier, images, part.labels, numbers < RECALLED)
    drawn = _merged(drawn)
    _check_count(drawn.count)
    real = _read(classifier, held_out, np.arange(len(held_out)), progress)
    report: dict[str, float | int | str] = {
        "samples": drawn.count,
        "reference_images": len(held_out),
        "classifier_accuracy": real.right / real.labelled,
        "confidence": drawn.confident / drawn.count,
    }
    kept = min(sum(map(len, drawn.kept)), len(train))
    recalled = "recall" in metrics and kept > NEIGHBOURS
    if "fcd" in metrics or recalled:
        # Always the same training images for one count, or all of them if there are fewer.
        chosen = np.sort(np.random.default_rng(0).permutation(len(train))[: drawn.count])
        as_many = _read(classifier, train, chosen, progress)
    if "fcd" in metrics:
        report["fcd"] = distance(drawn.features, real.features)
        report["fcd_floor"] = distance(as_many.features, real.features)
    if "accuracy" in metrics:
        if drawn.labelled:
            report["accuracy"] = drawn.right / drawn.labelled
        else:
            report["accuracy_absent"] = "the samples were drawn without labels, so there is none to be right about"
    if recalled:
        held, ours, training = (np.concatenate(reading.kept) for reading in (real, drawn, as_many))
        report["recall"] = recall(held, ours)
        report["recall_ceiling"] = recall(held, training)
    elif "recall" in metrics:
        report["recall_absent"] = f"{kept} samples are too few; {NEIGHBOURS + 1} is the least"
    if "classes" in metrics:
        report["classes"] = effective_classes(drawn.classes / drawn.count)
    return report


def _read(classifier: Classifier, data: ImageData, indices: np.ndarray, progress: bool) -> Reading:
    """Return what is read in some images of a set; of several processes each reads its share."""
    kept = indices[np.linspace(0, len(indices) - 1, min(RECALLED, len(indices))).round().astype(int)]
    reading, share = Reading(), indices[processes().process_index :: processes().num_processes]
    batches: Iterator[np.ndarray] = (share[start : start + BATCH] for start in range(0, len(share), BATCH))
    for batch in tracked(batches, -(-len(share) // BATCH), "reading the images", progress):
        images, told = data.examples(batch, names=("label",))
        reading.add(classifier, images, told["label"], np.isin(batch, kept))  # type: ignore[arg-type]
    return _merged(reading)


def _merged(reading: Reading) -> Reading:
    """Return what all processes have read."""
    whole = Reading()
    for part in gathered(reading):
        whole.merge(part)
    return whole


def _check_count(count: int) -> None:
    if count < 2:
        raise InputError(f"{count} samples are too few to measure; 2 is the least, 1,000 is a good number")


def _check(samples: Samples, held_out: ImageData) -> None:
    tensor, labels = samples.tensor, samples.labels
    if tensor.ndim != 4 or tuple(tensor.shape[1:]) != tuple(held_out.shape):
        shape, asked = tuple(tensor.shape), ", ".join(map(str, held_out.shape))
        raise InputError(f"the samples are {shape}, but the images of '{held_out.name}' ask for (N, {asked})")
    if not torch.isfinite(tensor).all():
        raise InputError("the samples hold a NaN or an infinity; only finite images can be measured")
    if labels is None:
        return
    classes = held_out.num_classes
    if labels.shape != (len(tensor),):
        raise InputError(f"{len(tensor)} samples need as many labels, not labels of {tuple(labels.shape)}")
    if labels.is_floating_point() or labels.min() < 0 or labels.max() >= classes:
        raise InputError(f"labels must be class indices from 0 to {classes - 1} for '{held_out.name}'")
