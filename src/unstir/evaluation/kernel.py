r"""The kernel distance of Binkowski et al. 2018: KID, where the features are Inception's.

.. math:: \mathrm{MMD}^2 = \frac{1}{n(n-1)} \sum_{i \ne j} \big[ k(s_i, s_j) + k(r_i, r_j) \big]
    - \frac{2}{n^2} \sum_{i,j} k(s_i, r_j), \qquad k(a, b) = \Big( \frac{a \cdot b}{F} + 1 \Big)^3

Unlike a Fréchet distance it is unbiased: its expectation does not depend on n, and of equal distributions is 0, so
that it may come out below. It is the mean over subsets of 1,000 samples and 1,000 real images, as is the custom.
"""

from __future__ import annotations

import numpy as np

from unstir.evaluation.bootstrap import interval, weights

SUBSETS, SIZE, SEED = 100, 1000, 2020
"""As in torch-fidelity, which draws the same subsets."""

RESAMPLED = 2000
"""Of how many samples and real images, at most, the interval is taken."""

WHOLE = 4000
"""Up to as many samples and real images their kernel is made once for all subsets: 128 MB each of three."""


def kernel_distances(
    real: np.ndarray, samples: np.ndarray, subsets: int = SUBSETS, size: int = SIZE, seed: int = SEED
) -> np.ndarray:
    """Return the unbiased squared MMD of random subsets, float64 (subsets,), whose mean is the distance.

    Args:
        real: Features (M, F), M at least ``size``.
        samples: Features (N, F), N at least ``size``.
        subsets: How many.
        size: How many of each are in a subset, at least 2.
        seed: Of the subsets.
    """
    random, found = np.random.RandomState(seed), []
    whole = max(len(samples), len(real)) <= WHOLE
    if whole:
        kernels = _kernels(samples, real)
    for _ in range(subsets):
        i = random.choice(len(samples), size, replace=False)
        j = random.choice(len(real), size, replace=False)
        if whole:
            ss, rr, sr = (kernel[np.ix_(*at)] for kernel, at in zip(kernels, ((i, i), (j, j), (i, j))))
        else:
            ss, rr, sr = _kernels(samples[i], real[j])
        found.append(_among(ss) + _among(rr) - 2 * float(sr.mean()))
    return np.array(found)


def kernel_interval(real: np.ndarray, samples: np.ndarray, value: float) -> tuple[float, float]:
    """Return the ends of the 95 % interval around a kernel distance, by resampling the first 2,000 samples.

    Args:
        real: Features (M, F), which stay as they are; at most 2,000 are taken.
        samples: Features (N, F), N at least 2.
        value: The distance.
    """
    s, r = (features[:RESAMPLED].astype(np.float64) for features in (samples, real))
    w = weights(len(s)).astype(np.float64)
    kernel, count = _kernel(s, s), len(s)
    # A sample that was drawn twice is no pair with itself.
    own = np.einsum("bi,bi->b", w @ kernel, w) - w**2 @ np.diag(kernel)
    among = own / np.maximum(count**2 - (w**2).sum(1), 1)  # of few samples one may be all of a resample
    return interval(value, among - 2 * w @ _kernel(s, r).mean(1) / count)


def _kernels(samples: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the kernels of samples (N, N), of real images (M, M) and between them (N, M), float64."""
    s, r = samples.astype(np.float64), real.astype(np.float64)
    return _kernel(s, s), _kernel(r, r), _kernel(s, r)


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _among(kernel: np.ndarray) -> float:
    """Return the mean of what is off the diagonal."""
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))
