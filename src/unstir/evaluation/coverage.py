r"""How much of the data samples cover: what a model leaves out, however good its images are.

The recall of Kynkäänniemi et al. 2019: the share of real images whose features lie within reach of a sample's,

.. math:: \mathrm{recall} = \frac1M \sum_j \max_i \, \mathbb{1}\left[ |r_j - s_i| \le \mathrm{NN}_k(s_i) \right],

where :math:`\mathrm{NN}_k(s_i)` is the distance from sample i to the k-th nearest of the others. And the effective
number of classes, :math:`\exp H(\bar p)`: the exponential of the entropy of the samples' mean class probabilities,
which is K where all K classes are as frequent, and 1 where there is only one.
"""

from __future__ import annotations

import numpy as np
import torch

NEIGHBOURS = 3
"""k; the paper's choice."""


def recall(real: np.ndarray, samples: np.ndarray, neighbours: int = NEIGHBOURS) -> float:
    """Return the share of real features (M, F) within reach of samples' features (N, F), N above ``neighbours``.

    Memory grows as N (N + M).

    Raises:
        ValueError: If there are too few samples to have so many neighbours.
    """
    if len(samples) <= neighbours:
        raise ValueError(f"a sample among {len(samples)} has no {neighbours} neighbours")
    r, s = (torch.from_numpy(np.asarray(features, dtype=np.float64)) for features in (real, samples))
    # By differences, not by products: of equal features the distance is exactly 0.
    how = "donot_use_mm_for_euclid_dist"
    among = torch.cdist(s, s, compute_mode=how).fill_diagonal_(torch.inf)
    reach = among.kthvalue(neighbours, dim=1).values
    return float((torch.cdist(r, s, compute_mode=how) <= reach).any(dim=1).double().mean())


def effective_classes(probabilities: np.ndarray) -> float:
    """Return exp of the entropy of mean class probabilities (K,): between 1 and K."""
    seen = probabilities[probabilities > 0]
    return float(np.exp(-(seen * np.log(seen)).sum()))
