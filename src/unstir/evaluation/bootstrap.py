r"""How far a figure might be off by chance, since it is of some images and not of all that might have been drawn.

The images are drawn again from themselves, N out of N with replacement, and the figure is taken of each such set
(Efron 1979). Of the replicates :math:`\theta_b` the interval is

.. math:: \theta + q_{2.5\%}(\theta_b) - \bar\theta_b \quad \text{to} \quad
    \theta + q_{97.5\%}(\theta_b) - \bar\theta_b,

the bootstrap's own bias taken away: a set with repetitions is not as varied as that which it is from.
"""

from __future__ import annotations

import numpy as np

RESAMPLES = 500


def weights(count: int, seed: int = 0) -> np.ndarray:
    """Return how often each of ``count`` images is in each resample, float32 (RESAMPLES, count)."""
    random = np.random.default_rng(seed)
    found = np.empty((RESAMPLES, count), dtype=np.float32)
    for row in found:
        row[:] = np.bincount(random.integers(0, count, count), minlength=count)
    return found


def interval(value: float, replicates: np.ndarray) -> tuple[float, float]:
    """Return the ends of the 95 % interval around a figure from its replicates (RESAMPLES,)."""
    low, high = np.quantile(replicates, (0.025, 0.975)) - replicates.mean()
    return float(value + low), float(value + high)


def of_mean(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of the 95 % interval around the mean of values (N,), one of each image."""
    values = np.asarray(values, dtype=np.float64)
    return interval(float(values.mean()), weights(len(values)) @ values / len(values))
