r"""Where samples lie among real images: whether they look real, and what of the data they leave out.

Around each image of a set X lies a ball that reaches to the k-th nearest of the others, :math:`\mathrm{NN}_k(x)`.
With real images :math:`r_1 .. r_M` and samples :math:`s_1 .. s_N`,

.. math::
    \mathrm{precision} &= \frac1N \sum_j \max_i \mathbb{1}[ |s_j - r_i| \le \mathrm{NN}_3(r_i) ], \qquad
    \mathrm{recall} = \frac1M \sum_i \max_j \mathbb{1}[ |r_i - s_j| \le \mathrm{NN}_3(s_j) ], \\
    \mathrm{density} &= \frac1{5N} \sum_j \sum_i \mathbb{1}[ |s_j - r_i| \le \mathrm{NN}_5(r_i) ], \qquad
    \mathrm{coverage} = \frac1M \sum_i \max_j \mathbb{1}[ |r_i - s_j| \le \mathrm{NN}_5(r_i) ]

(Kynkäänniemi et al. 2019; Naeem et al. 2020). Recall alone has balls around samples, so one far sample may recall
much; coverage mends that. And the effective number of classes, :math:`\exp H(\bar p)`: the exponential of the
entropy of the samples' mean class probabilities, which is K where all K classes are as frequent, and 1 where there
is only one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from unstir.progress import tracked

NEIGHBOURS = 3
"""k of precision and recall; the paper's choice."""

AROUND = 5
"""k of density and coverage; the paper's choice."""

_DISTANCES = 1 << 23
"""How many are held at once: 64 MiB."""

_ROUNDING = 1e-12
"""Squared distances are made by products, since nothing else is fast: right to this share of the largest squared
norm. What is beyond reach by no more is within it, as equal images must be; float32 tells no less apart."""


class Surroundings:
    """Real images and how far the ball around each reaches, found once for all that is compared with them.

    Args:
        real: Features (M, F).
        neighbours: k of precision and recall.
        around: k of density and coverage.
        progress: Whether to show progress bars.
    """

    def __init__(
        self, real: np.ndarray, neighbours: int = NEIGHBOURS, around: int = AROUND, progress: bool = False
    ) -> None:
        self.neighbours, self.around, self._progress = neighbours, around, progress
        self._mean = np.mean(real, axis=0, dtype=np.float64)  # near it products lose least
        self._real = self._centred(real)

    def of(self, samples: np.ndarray, wanted: Collection[str]) -> dict[str, np.ndarray]:
        """Return what precision, recall, density and coverage are the means of.

        Args:
            samples: Features (N, F).
            wanted: Which of the four.

        Returns:
            By name: ``precision``, which samples lie within reach of a real image, bool (N,); ``recall``, which
            real images lie within reach of a sample, bool (M,); ``density``, in how many real images' reach each
            sample lies, over k, float64 (N,); ``coverage``, which real images have a sample within theirs, bool
            (M,).

        Raises:
            ValueError: If there are too few real images, or for recall samples, to have so many neighbours.
        """
        x, real = self._centred(samples), self._real
        slack = _ROUNDING * max(float(_squares(y).max()) for y in (x, real))
        near = self._reach(self.neighbours) + slack if "precision" in wanted else None
        wide = self._reach(self.around) + slack if {"density", "coverage"} & set(wanted) else None
        own = None
        if "recall" in wanted:
            own = _kth(self._nearest(x, self.neighbours), self.neighbours) + slack
        found: dict[str, list[Tensor]] = {name: [] for name in wanted}
        for rows, squares in self._blocks(x, real):
            if near is not None:
                found["precision"].append((squares <= near).any(1))
            if own is not None:
                found["recall"].append((squares <= own[rows, None]).any(0))
            if wide is not None and "density" in wanted:
                found["density"].append((squares <= wide).sum(1).double() / self.around)
            if wide is not None and "coverage" in wanted:
                found["coverage"].append((squares <= wide).any(0))
        of_real = {"recall", "coverage"}
        return {
            name: (torch.stack(parts).any(0) if name in of_real else torch.cat(parts)).numpy()
            for name, parts in found.items()
        }

    @cached_property
    def _neighbourhood(self) -> Tensor:
        return self._nearest(self._real, max(self.neighbours, self.around))

    def _reach(self, k: int) -> Tensor:
        return _kth(self._neighbourhood, k)

    def _nearest(self, x: Tensor, k: int) -> Tensor:
        """Return the squared distances from each (N, F) to the k nearest of the others, rising: float64 (N, k)."""
        found = []
        for rows, squares in self._blocks(x, x):
            squares.diagonal(rows.start).fill_(torch.inf)
            found.append(squares.topk(min(k, len(x) - 1), largest=False).values)
        return torch.cat(found)

    def _blocks(self, a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield squared distances of a few rows of a (N, F) at a time from all of b (M, F), and of which rows."""
        norms = _squares(b)
        size = max(1, _DISTANCES // len(b))
        starts = range(0, len(a), size)
        for start in tracked(starts, len(starts), "comparing each with each", self._progress):
            rows = slice(start, start + size)
            yield rows, torch.addmm(norms, a[rows], b.T, alpha=-2).add_(_squares(a[rows])[:, None])

    def _centred(self, features: np.ndarray) -> Tensor:
        return torch.from_numpy(features - self._mean)


def _squares(x: Tensor) -> Tensor:
    """Return the squared norms of rows (N, F); no matrix of squares is made."""
    return torch.einsum("nf,nf->n", x, x)


def _kth(nearest: Tensor, k: int) -> Tensor:
    """Return the k-th of each image's nearest (N, K)."""
    if nearest.shape[1] < k:
        raise ValueError(f"an image among {len(nearest)} has no {k} neighbours")
    return nearest[:, k - 1]


def effective_classes(probabilities: np.ndarray) -> float:
    """Return exp of the entropy of mean class probabilities (K,): between 1 and K."""
    seen = probabilities[probabilities > 0]
    return float(np.exp(-(seen * np.log(seen)).sum()))
