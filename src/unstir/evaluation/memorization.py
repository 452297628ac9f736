r"""Whether samples are training images over again (Yoon et al. 2023).

A sample is a copy where the nearest training image is much nearer than the second nearest,

.. math:: \frac{\min_i |s - t_i|}{\min^{(2)}_i |s - t_i|} < \frac13,

a question that needs no scale. Some held-out images are copies too, where the data repeat themselves, so the share
of samples says little without theirs. The paper measures in pixels; here it is in the features of a backbone,
which see a copy that was moved or brightened.
"""

from __future__ import annotations

import numpy as np
import torch

RATIO = 1 / 3


class Nearest:
    """The two nearest training images of each of some images; training images come a batch at a time.

    Args:
        features: Of the images, (N, F).

    Attributes:
        distances: To the nearest and the second nearest that came so far, float64 (N, 2); infinity for none.
        rows: Which these are, counted as they came, int64 (N, 2); -1 for none and for what others have found.
    """

    def __init__(self, features: np.ndarray) -> None:
        self._x = torch.from_numpy(np.asarray(features))
        self.distances = np.full((len(features), 2), np.inf)
        self.rows = np.full((len(features), 2), -1)
        self._count = 0

    def add(self, training: np.ndarray) -> None:
        """Look at training images' features (B, F), B at least 1."""
        y = torch.from_numpy(np.asarray(training, dtype=np.float64))
        for start in range(0, len(self._x), 5000):
            x = self._x[start : start + 5000].double()
            # Which are near is found by products, how near they are by differences: equal ones are at 0.
            squares = (y * y).sum(1) - 2 * x @ y.T
            near = squares.topk(min(2, len(y)), dim=1, largest=False).indices
            found = (x[:, None] - y[near]).norm(dim=2).numpy()
            self._take(slice(start, start + 5000), found, self._count + near.numpy())
        self._count += len(y)

    def merge(self, distances: np.ndarray) -> None:
        """Add what others have found, (N, 2), among other training images."""
        self._take(slice(None), distances, np.full(distances.shape, -1))

    def ratios(self) -> np.ndarray:
        """Return the nearest distance over the second nearest, float64 (N,), in [0, 1].

        What equals a training image has 0, though that be in the set twice.
        """
        first, second = self.distances.T
        return np.where(first > 0, first / np.where(second > 0, second, 1), 0.0)

    def copies(self) -> np.ndarray:
        """Return which images are copies, bool (N,)."""
        return self.ratios() < RATIO

    def _take(self, part: slice, distances: np.ndarray, rows: np.ndarray) -> None:
        both = np.concatenate([self.distances[part], distances], axis=1)
        order = np.argsort(both, axis=1, kind="stable")[:, :2]
        self.distances[part] = np.take_along_axis(both, order, axis=1)
        self.rows[part] = np.take_along_axis(np.concatenate([self.rows[part], rows], axis=1), order, axis=1)
