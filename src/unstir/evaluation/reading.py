"""What a backbone has read in images, a batch at a time and a process at a time; what metrics are made from."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from unstir.evaluation.backbones.backbone import Seen
from unstir.evaluation.frechet import Statistics


class Rows:
    """Rows of numbers by the images that they are of, in float32: no backbone computes in more."""

    def __init__(self) -> None:
        self._numbers: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []
        self._ordered = False

    def add(self, numbers: np.ndarray, rows: np.ndarray) -> None:
        """Add rows (n, F) of the images that ``numbers`` (n,) says."""
        self._numbers.append(np.asarray(numbers))
        self._rows.append(rows.astype(np.float32))
        self._ordered = False

    def merge(self, other: Rows) -> None:
        """Add what another has."""
        self._numbers += other._numbers
        self._rows += other._rows
        self._ordered = False

    def __len__(self) -> int:
        """Return how many rows there are."""
        return sum(map(len, self._rows))

    def array(self) -> np.ndarray:
        """Return all of them by the order of their images, (n, F): in whatever batches and processes they came."""
        if not self._rows:
            return np.zeros((0, 0), dtype=np.float32)
        if not self._ordered:
            numbers = np.concatenate(self._numbers)
            order = np.argsort(numbers, kind="stable")
            places, rows = np.empty_like(order), np.empty((len(order), self._rows[0].shape[1]), np.float32)
            places[order] = np.arange(len(order))
            start = 0
            for part in self._rows:  # one by one: there may be gigabytes of them
                rows[places[start : start + len(part)]] = part
                start += len(part)
            self._numbers, self._rows, self._ordered = [numbers[order]], [rows], True
        return self._rows[0]


class Reading:
    """What a backbone reads in images.

    Args:
        needs: What is kept of it, see :class:`unstir.evaluation.metrics.Metric`; and ``places``.

    Attributes:
        count: How many images were read.
        moments: Statistics of their features.
        spatial: Statistics of their spatial features.
        features: The features of some of them.
        places: The spatial features of the same ones.
        probabilities: The class probabilities of all.
        confident: How many were read with a probability over 0.9.
        labelled: How many have a label.
        right: How many of these were read as it.
        classes: The sum of their class probabilities, float64 (K,).
    """

    def __init__(self, needs: Iterable[str]) -> None:
        self.needs = frozenset(needs)
        self.count = 0
        self.moments, self.spatial = Statistics(), Statistics()
        self.features, self.places, self.probabilities = Rows(), Rows(), Rows()
        self.confident = self.labelled = self.right = 0
        self.classes = np.zeros(())

    def add(self, seen: Seen, numbers: np.ndarray, keep: np.ndarray, labels: Tensor | None = None) -> None:
        """Add what was read in a batch.

        Args:
            seen: Of B images, at least one.
            numbers: Which images they are, int (B,).
            keep: Whose features are kept, bool (B,).
            labels: Theirs, int64 (B,), or None.
        """
        self.count += len(numbers)
        features, probabilities = seen.features.numpy(), seen.probabilities
        if "moments" in self.needs:
            self.moments.add(features)
        if "spatial" in self.needs and seen.spatial is not None:
            self.spatial.add(seen.spatial.numpy())
        if "features" in self.needs:
            self.features.add(numbers[keep], features[keep])
        if "places" in self.needs and seen.spatial is not None:
            self.places.add(numbers[keep], seen.spatial.numpy()[keep])
        if probabilities is None:
            return
        if "probabilities" in self.needs:
            self.probabilities.add(numbers, probabilities.numpy())
        if "answers" in self.needs:
            self.classes = self.classes + probabilities.sum(0).numpy()
            self.confident += int((probabilities.amax(1) > 0.9).sum())
            if labels is not None:
                self.labelled += len(labels)
                self.right += int((probabilities.argmax(1) == labels.cpu()).sum())

    def merge(self, other: Reading) -> Reading:
        """Add what another has read, and return the reading."""
        self.count += other.count
        self.moments.merge(other.moments)
        self.spatial.merge(other.spatial)
        self.features.merge(other.features)
        self.places.merge(other.places)
        self.probabilities.merge(other.probabilities)
        self.confident += other.confident
        self.labelled += other.labelled
        self.right += other.right
        self.classes = self.classes + other.classes
        return self
