"""What samples are worth, in figures: how far from real images, what they leave out, whether they heed labels.

Real images are the set's held-out ones, which no model has seen, or its training ones, as in papers.

Images are read by backbones (:mod:`unstir.evaluation.backbones`), and each metric is made from what one of them
has read. If nothing else is said that is the set's own classifier (:mod:`unstir.evaluation.ruler`), which needs no
download and fits digits as well as photographs; its figures compare models of one set, and are no Inception FID.
Samples come as a stream: each process measures its share, and no more is held than statistics and what is kept of
each image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from unstir.errors import InputError
from unstir.evaluation import features, statistics
from unstir.evaluation.backbones.backbone import Backbone, Seen, check_channels
from unstir.evaluation.backbones.load import load
from unstir.evaluation.backbones.names import CLASSIFIER, BackboneName
from unstir.evaluation.backbones.ruled import RuledBackbone
from unstir.evaluation.memorization import Nearest
from unstir.evaluation.metrics import (
    AGAINST,
    HELD_OUT,
    METRICS,
    OF_SAMPLES,
    TRAIN,
    by_backbone,
    check,
    check_against,
)
from unstir.evaluation.reading import Reading
from unstir.evaluation.ruler import ruler
from unstir.evaluation.scores import Readings, scores
from unstir.models.samples import Samples
from unstir.processes import gathered, processes
from unstir.progress import tracked

if TYPE_CHECKING:
    from unstir.data.dataset import ImageData, Splits

_MOVING = {"moments": "features", "spatial": "places"}
"""What of some samples the interval of a distance between statistics is made from."""

_Take = Callable[[Seen, np.ndarray, "Tensor | None"], object]

BATCH = 500

RECALLED = 2000
"""Of how many samples and real images, at most, neighbours are asked for: the cost grows as their square."""


def measure(
    samples: Iterable[Samples],
    splits: Splits,
    metrics: Sequence[str] = tuple(METRICS),
    progress: bool = True,
    backbone: str | None = None,
    among: int | None = None,
    against: str = HELD_OUT,
) -> dict[str, float | int | str]:
    """Measure samples against the real images of a set.

    Samples are rounded to 8 bits first, as they would be saved. The classifier comes from the cache or is trained.

    Args:
        samples: Images (N, C, H, W) as they are drawn, float32 in [-1, 1]; values beyond are clipped. Their labels
            are what they were asked for. Of several processes each gives its share, and all get the same answer.
            Those in a list are checked before a classifier is trained.
        splits: the set that the model was trained on.
        metrics: names out of ``METRICS`` and ``OTHERS``.
        progress: show progress bars, if standard error is a terminal.
        backbone: what reads the images for the metrics that take any, ``NAME`` or ``NAME@PATH``; None for the
            set's classifier, or without labels for EfficientNet-Lite0.
        among: the first how many samples, and how many real images, are compared each with each: by all
            metrics but Fréchet distances, the Inception score, ``accuracy`` and ``classes``; None for 2,000. If
            there are fewer, all.
        against: which images of the set are the reference, ``held-out`` or ``train``. What real images score is of
            the others.

    Returns:
        Always ``samples``, ``against`` and ``reference_images`` (how many images are the reference). Where metrics
        take any backbone also ``backbone`` and ``backbone_key``; where images are compared each with each,
        ``samples_compared`` and ``reference_compared``. Where the classifier reads, ``classifier_accuracy`` (on
        held-out images, in [0, 1]) and ``confidence`` (the share of samples that it reads with a probability over
        0.9). And of each metric what :mod:`unstir.evaluation.scores` says: the figure, its interval, and what real
        images score:

        With ``fcd`` also ``fcd_floor``: the distance of as many of the other real images, if there are so many, to
        the same reference, which is what samples as good as real images would score at this N;
        both fall with N, so compare at equal N. With ``accuracy`` the share of samples read as their label, in
        [0, 1]; without labels ``accuracy_absent`` stands in its place, a sentence that says why. With ``recall``
        also ``recall_ceiling``, that of as many of the others; of too few samples, ``recall_absent``. With
        ``classes`` the effective number of classes in the samples: of a model that is told labels, whether it
        heeds them; of one that is not, whether it leaves some out.

    Raises:
        InputError: an unknown metric, backbone or reference, a backbone whose weights are not there, a set without
            labels for metrics that need them, or samples and labels that do not fit the set.
    """
    check(metrics)
    check_against(against)
    train, held_out = splits.train, splits.held_out
    labelled = train.labels is not None and held_out.labels is not None
    groups = by_backbone(metrics, backbone, labelled)
    asked = groups.get(BackboneName(CLASSIFIER))
    if asked and not labelled:
        raise InputError(f"'{held_out.name}' has no labels, and {', '.join(asked)} need a labelled set (for now)")
    for name in groups:
        check_channels(name.name, held_out.shape[0])
    if isinstance(samples, Sequence):
        for part in samples:
            _check(part, held_out)
        _check_count(sum(gathered(sum(map(len, samples)))))
    most = RECALLED if among is None else among
    rulers = [_Ruler(_backbone(name, splits), wanted, most, progress, against) for name, wanted in groups.items()]
    count = 0
    for part in samples:
        _check(part, held_out)
        images = ((part.tensor.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
        numbers = count + np.arange(len(images)) if part.indices is None else np.asarray(part.indices)
        count += len(images)
        for one in rulers:
            one.drawn.add(one.backbone.read(images), numbers, numbers < most, part.labels)
    count = sum(gathered(count))
    _check_count(count)
    reference = len(held_out if against == HELD_OUT else train)
    report: dict[str, float | int | str] = {"samples": count, "against": against, "reference_images": reference}
    for one in rulers:
        report |= one.measure(splits)
    order = [name for metric in metrics for name in report if name == metric or name.startswith(f"{metric}_")]
    return {name: report[name] for name in [*(name for name in report if name not in order), *order]}


class _Ruler:
    """A backbone, what is asked of it, and what it has read in samples.

    Args:
        backbone: What reads.
        metrics: What is made of it.
        most: How many images, at most, are compared each with each.
        progress: Whether to show progress bars.
        against: Which images of the set are the reference.
    """

    def __init__(
        self, backbone: Backbone, metrics: Sequence[str], most: int, progress: bool, against: str
    ) -> None:
        self.backbone, self.metrics, self.most, self.progress = backbone, metrics, most, progress
        self.against = against
        self.needs = frozenset[str]().union(*(OF_SAMPLES[metric].needs for metric in metrics))
        if backbone.name == CLASSIFIER:
            self.needs |= {"answers"}
        self.drawn = Reading(self.needs | {_MOVING[part] for part in self.needs & _MOVING.keys()})

    def measure(self, splits: Splits) -> dict[str, float | int | str]:
        """Return the figures of all samples that were read; all processes get the same."""
        drawn = _merged(self.drawn)
        nearest = "nearest" in self.needs and len(splits.train) > 1
        of_reference = self.needs - {"probabilities", "nearest", "answers"}
        of_others = frozenset[str]().union(
            *(OF_SAMPLES[name].needs for name in self.metrics if OF_SAMPLES[name].beside not in ("", "control"))
        )
        of_held_out = self.needs & {"answers"} | ({"features"} if nearest else frozenset[str]())
        parts, copies = dict[str, Reading](), None
        for part, data in ((HELD_OUT, splits.held_out), (TRAIN, splits.train)):
            count = len(data) if part == self.against else min(drawn.count, len(data))
            needs = of_reference if part == self.against else of_others
            parts[part] = self._read(data, part, count, needs | (of_held_out if part == HELD_OUT else set()))
            if nearest and part == HELD_OUT:  # so that what follows finds what is read here
                copies = self._nearest(splits.train, drawn, parts[part])
        real = parts.pop(self.against)
        (other,) = parts.values()
        held_out = real if self.against == HELD_OUT else other
        found: dict[str, float | int | str] = {}
        if any(OF_SAMPLES[metric].backbone is None for metric in self.metrics):
            found |= {"backbone": self.backbone.name, "backbone_key": self.backbone.key}
        if "features" in self.needs:
            found |= {"samples_compared": len(drawn.features), "reference_compared": len(real.features)}
        if "answers" in self.needs:
            found["classifier_accuracy"] = held_out.right / held_out.labelled
            found["confidence"] = drawn.confident / drawn.count
        readings = Readings(drawn, real, other, self.against, self.metrics, copies, self.progress)
        for metric in self.metrics:
            found |= scores(metric, readings)
        return found

    def _read(self, data: ImageData, part: str, count: int, needs: frozenset[str]) -> Reading:
        """Return what is read in ``count`` images of a part of the set; of several processes each reads its share.

        Statistics and features come from the cache, if they are there, and are kept there.
        """
        known = {
            name: statistics.kept(data, self.backbone, count, name) for name in needs & {"moments", "spatial"}
        }
        missing = {name for name in known if known[name] is None}
        rows = statistics.rows(data, count)
        some = rows[np.linspace(0, len(rows) - 1, min(self.most, len(rows))).round().astype(int)]
        reading = Reading((needs - known.keys()) | missing)
        beyond = reading.needs - {"features"}
        if beyond:
            self._look(
                data,
                rows,
                lambda seen, batch, labels: reading.add(seen, batch, np.isin(batch, some), labels),
                features.kept(data, self.backbone, rows) if beyond == {"moments"} else None,
            )
        elif reading.needs:
            known_rows = features.kept(data, self.backbone, some)
            self._look(
                data, some, lambda seen, batch, labels: reading.add(seen, batch, batch >= 0), known_rows, keep=True
            )
        whole = _merged(reading)
        whole.count = count
        if missing == beyond and beyond and "features" in needs:  # else the images are read each time anyway
            features.keep(whole.features.array(), data, self.backbone, some)
        for name, found in known.items():
            if found is None:
                which = f"{AGAINST[part]} images of {data.name}"
                statistics.keep(getattr(whole, name), data, self.backbone, count, name, which)
            else:
                setattr(whole, name, found)
        return whole

    def _nearest(self, train: ImageData, drawn: Reading, real: Reading) -> tuple[Nearest, Nearest]:
        """Return the training images nearest to the samples and to the held-out images that were kept."""
        found = Nearest(drawn.features.array()), Nearest(real.features.array())

        def take(seen: Seen, batch: np.ndarray, labels: Tensor | None) -> None:
            for one in found:
                one.add(seen.features.numpy())

        rows = np.arange(len(train))
        self._look(train, rows, take, features.kept(train, self.backbone, rows), keep=True)
        for one in found:
            for rank, distances in enumerate(gathered(one.distances)):
                if rank != processes().process_index:
                    one.merge(distances)
        return found

    def _look(
        self, data: ImageData, rows: np.ndarray, take: _Take, known: np.ndarray | None, keep: bool = False
    ) -> None:
        """Read this process's share of some images of a set.

        Args:
            data: The set.
            rows: Which images, int (n,).
            take: Gets what is read.
            known: The images' features (n, F), if these are known and are all that is asked.
            keep: Whether to keep features that are not known yet.
        """
        place, others = processes().process_index, processes().num_processes
        share = np.arange(len(rows))[place::others]
        starts = range(0, -(-len(rows) // others), BATCH)  # as many for each process
        writing = features.written(data, self.backbone, rows) if keep and known is None else nullcontext()
        with writing as put:
            for start in tracked(starts, len(starts), "reading the images", self.progress):
                batch, matrix = share[start : start + BATCH], np.zeros((0, 0))
                if len(batch) and known is not None:
                    take(Seen(torch.from_numpy(known[batch]).double()), rows[batch], None)
                elif len(batch):
                    images, told = data.examples(rows[batch], names=("label",))
                    seen = self.backbone.read(images)
                    matrix = seen.features.numpy()
                    take(seen, rows[batch], told.get("label"))  # type: ignore[arg-type]
                if put is not None:
                    put(batch, matrix)


def _backbone(name: BackboneName, splits: Splits) -> Backbone:
    """Return a backbone; the set's classifier is trained if need be."""
    return RuledBackbone(ruler(splits)) if name.name == CLASSIFIER else load(name)


def _merged(reading: Reading) -> Reading:
    """Return what all processes have read."""
    whole = Reading(reading.needs)
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
    if labels is None or held_out.labels is None:  # then there is nothing to be right about
        return
    classes = held_out.num_classes
    if labels.shape != (len(tensor),):
        raise InputError(f"{len(tensor)} samples need as many labels, not labels of {tuple(labels.shape)}")
    if labels.is_floating_point() or labels.min() < 0 or labels.max() >= classes:
        raise InputError(f"labels must be class indices from 0 to {classes - 1} for '{held_out.name}'")
