r"""The Inception score of Salimans et al. 2016: whether each image is surely something, and all together many
things.

.. math:: \exp \Big( \frac1N \sum_i \mathrm{KL}(p(y | x_i) \,\|\, \bar p(y)) \Big)
    = \exp \Big( H(\bar p) - \frac1N \sum_i H(p(y | x_i)) \Big)

between 1 and the number of classes. It knows no real image: one perfect picture of each class scores as a whole
data set does. As is the custom it is the mean over ten parts of the samples, which lowers it where these are
small.
"""

from __future__ import annotations

import itertools

import numpy as np

from unstir.evaluation.bootstrap import RESAMPLES, interval, weights

SPLITS, SEED = 10, 2020
"""As in torch-fidelity, which shuffles so."""


def inception_scores(probabilities: np.ndarray, splits: int = SPLITS, seed: int = SEED) -> np.ndarray:
    """Return the score of each part of shuffled samples, float64 (splits,).

    Args:
        probabilities: Of classes (N, K), N at least ``splits``.
        splits: In how many parts.
        seed: Of the shuffling.
    """
    order = np.random.RandomState(seed).permutation(len(probabilities))
    count, ends = len(order), [i * len(order) // splits for i in range(splits + 1)]
    assert count >= splits
    return np.array([_score(probabilities[order[a:b]]) for a, b in itertools.pairwise(ends)])


def score_interval(probabilities: np.ndarray, value: float) -> tuple[float, float]:
    """Return the ends of the 95 % interval around a score, by resampling the samples (N, K) as one part."""
    count = len(probabilities)
    w = weights(count)
    mean, within = np.zeros((RESAMPLES, probabilities.shape[1])), np.zeros(RESAMPLES)
    for start in range(0, count, 1000):  # 50,000 of 1,008 classes would be 400 MB
        part = probabilities[start : start + 1000].astype(np.float64)
        mean += w[:, start : start + 1000] @ part / count
        within += w[:, start : start + 1000] @ _entropy(part) / count
    return interval(value, np.exp(_entropy(mean) - within))


def _score(probabilities: np.ndarray) -> float:
    p = probabilities.astype(np.float64)
    return float(np.exp(_entropy(p.mean(0)) - _entropy(p).mean()))


def _entropy(p: np.ndarray) -> np.ndarray:
    """Return the entropy over the last axis, in nats; a class of probability 0 adds nothing."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)
