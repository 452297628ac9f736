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

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

NEIGHBOURS = 3
"""k of precision and recall; the paper's choice."""

AROUND = 5
"""k of density and coverage; the paper's choice."""

_DISTANCES = 1 << 23
"""How many are held at once: 64 MiB."""


def precise(real: np.ndarray, samples: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Return which samples (N, F) lie within reach of a real image (M, F): bool (N,), whose mean is precision.

    Raises:
        ValueError: If there are too few real images to have so many neighbours.
    """
    return _holders(samples, real, neighbours) > 0


def recalled(real: np.ndarray, samples: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Return which real images (M, F) lie within reach of a sample (N, F): bool (M,), whose mean is recall.

    Raises:
        ValueError: If there are too few samples to have so many neighbours.
    """
    return _holders(real, samples, neighbours) > 0


def recall(real: np.ndarray, samples: np.ndarray, neighbours: int = NEIGHBOURS) -> float:
    """Return the share of real features (M, F) within reach of samples' features (N, F), N above ``neighbours``.

    Raises:
        ValueError: If there are too few samples to have so many neighbours.
    """
    return float(recalled(real, samples, neighbours).mean())


def dense(real: np.ndarray, samples: np.ndarray, neighbours: int = AROUND) -> np.ndarray:
    """Return in how many real images' reach each sample lies, over k: float64 (N,), whose mean is density.

    Raises:
        ValueError: If there are too few real images to have so many neighbours.
    """
    return _holders(samples, real, neighbours) / neighbours


def covered(real: np.ndarray, samples: np.ndarray, neighbours: int = AROUND) -> np.ndarray:
    """Return which real images (M, F) have a sample (N, F) within reach: bool (M,), whose mean is coverage.

    Raises:
        ValueError: If there are too few real images to have so many neighbours.
    """
    nearest = torch.cat([distances.amin(1) for _, distances in _blocks(_tensor(real), _tensor(samples))])
    return (nearest <= _reach(_tensor(real), neighbours)).numpy()


def effective_classes(probabilities: np.ndarray) -> float:
    """Return exp of the entropy of mean class probabilities (K,): between 1 and K."""
    seen = probabilities[probabilities > 0]
    return float(np.exp(-(seen * np.log(seen)).sum()))


def _holders(points: np.ndarray, centres: np.ndarray, neighbours: int) -> np.ndarray:
    """Return in how many balls around centres (N, F) each point (P, F) lies, int64 (P,)."""
    reach = _reach(_tensor(centres), neighbours)
    blocks = _blocks(_tensor(points), _tensor(centres))
    return torch.cat([(distances <= reach).sum(1) for _, distances in blocks]).numpy()


def _reach(features: Tensor, neighbours: int) -> Tensor:
    """Return the distance from each (N, F) to the k-th nearest of the others, float64 (N,)."""
    if len(features) <= neighbours:
        raise ValueError(f"a sample among {len(features)} has no {neighbours} neighbours")
    found = []
    for start, distances in _blocks(features, features):
        distances.diagonal(start).fill_(torch.inf)
        found.append(distances.kthvalue(neighbours, dim=1).values)
    return torch.cat(found)


def _blocks(a: Tensor, b: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the distances of a few rows of a (N, F) at a time from all of b (M, F), and which row is the first.

    By differences, not by products: of equal features the distance is exactly 0.
    """
    rows = max(1, _DISTANCES // len(b))
    for start in range(0, len(a), rows):
        yield start, torch.cdist(a[start : start + rows], b, compute_mode="donot_use_mm_for_euclid_dist")


def _tensor(features: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(features, dtype=np.float64))
