"""The Fréchet distance between two clouds of features, each taken as a Gaussian.

    d^2 = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^{1/2})

The trace of ``(C1 C2)^{1/2}`` is the nuclear norm of ``C1^{1/2} C2^{1/2}``: the eigenvalues of ``C1 C2`` are those
of ``C1^{1/2} C2 C1^{1/2}``, the squares of that product's singular values. The two symmetric roots come from
eigendecompositions, so nothing is inverted or turns complex, and covariances of low rank are no special case.

Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982.
Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", 2017.
"""

from __future__ import annotations

import numpy as np


class Statistics:
    """The mean and covariance of features, a batch at a time and a process at a time (Chan et al. 1983).

    Attributes:
        count: How many features there are.
        mean: Theirs, float64 (F,).
        squares: The sum of the outer products of their distances from the mean, float64 (F, F).
    """

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, np.zeros(()), np.zeros(())

    def add(self, features: np.ndarray) -> Statistics:
        """Add features (N, F), N at least 1, and return the statistics.

        Raises:
            ValueError: If they are no matrix, or hold a NaN or an infinity.
        """
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or not len(features):
            raise ValueError(f"features must be (N, F) with N >= 1, not {features.shape}")
        if not np.isfinite(features).all():
            raise ValueError("features hold a NaN or an infinity")
        added = Statistics()
        added.count, added.mean = len(features), features.mean(axis=0)
        centred = features - added.mean
        added.squares = centred.T @ centred
        return self.merge(added)

    def merge(self, other: Statistics) -> Statistics:
        """Add what another has seen, and return the statistics."""
        count = self.count + other.count
        if other.count:
            shift = other.mean - self.mean
            self.squares = self.squares + other.squares + np.outer(shift, shift) * self.count * other.count / count
            self.mean = self.mean + shift * other.count / count
            self.count = count
        return self

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance, float64 (F, F), of at least two features.

        Raises:
            ValueError: If there are fewer.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 features, not {self.count}")
        return self.squares / (self.count - 1)


def distance(a: Statistics, b: Statistics) -> float:
    """Return the squared Fréchet distance between the Gaussians of two statistics."""
    return frechet_distance(a.mean, a.covariance, b.mean, b.covariance)


def frechet_distance(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> float:
    """Return the squared Fréchet distance of N(mean1, cov1) and N(mean2, cov2), 0 for equal ones.

    This squared distance is the number that is reported as FID when the features are Inception's.

    Args:
        mean1: (F,) float64.
        cov1: (F, F) float64, symmetric positive semidefinite, of any rank.
        mean2: (F,) float64.
        cov2: (F, F) float64, symmetric positive semidefinite, of any rank.
    """
    shift = np.asarray(mean1) - np.asarray(mean2)
    cross = np.linalg.svd(_root(cov1) @ _root(cov2), compute_uv=False).sum()
    distance = shift @ shift + np.trace(cov1) + np.trace(cov2) - 2.0 * cross
    return max(float(distance), 0.0)


def influences(features: np.ndarray, samples: Statistics, real: Statistics) -> np.ndarray:
    """Return what each sample moves the distance by, to first order and in units of 1 / N: float64 (n,).

    With T the optimal map of the samples' Gaussian to the real one, :math:`T = C_1^{-1/2} (C_1^{1/2} C_2
    C_1^{1/2})^{1/2} C_1^{-1/2}`, it is the first variation of the distance at a sample x,

        2 (m1 - m2) . (x - m1) + (x - m1)' (I - T) (x - m1) - tr((I - T) C1),

    whose mean over all samples is 0 and whose standard deviation over root N is the distance's standard error.
    It knows nothing of the distance's bias.

    Args:
        features: Of all samples or of some, (n, F).
        samples: Their statistics, whose covariance is C1.
        real: Those of real images.
    """
    root = _root(real.covariance)
    values, vectors = np.linalg.eigh(root @ samples.covariance @ root)
    kept = values > len(values) * np.finfo(np.float64).eps * np.abs(values).max()
    # T = C2^{1/2} (C2^{1/2} C1 C2^{1/2})^{-1/2} C2^{1/2} on the samples' own space.
    half = root @ vectors[:, kept] * values[kept] ** -0.25
    mean, found = np.trace(samples.covariance) - np.sqrt(values[kept]).sum(), np.empty(len(features))
    for start in range(0, len(features), 5000):  # of 50,000 samples each product would be half a gigabyte
        centred = features[start : start + 5000].astype(np.float64) - samples.mean
        bent = (centred**2).sum(1) - ((centred @ half) ** 2).sum(1)
        found[start : start + 5000] = 2 * centred @ (samples.mean - real.mean) + bent - mean
    return found


def _root(covariance: np.ndarray) -> np.ndarray:
    """Return the symmetric square root (F, F); eigenvalues no larger than rounding count as zero.

    Of a covariance of low rank they are about 1e-16 of the largest, and their roots would be 1e-8 of its.
    """
    values, vectors = np.linalg.eigh(covariance)
    rounding = len(values) * np.finfo(np.float64).eps * np.abs(values).max()
    return (vectors * np.sqrt(np.where(values > rounding, values, 0.0))) @ vectors.T
