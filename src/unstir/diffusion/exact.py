r"""Exact denoisers, for data whose density is known: the yardsticks that trained ones are held against.

For a mixture of Gaussians :math:`\sum_k w_k N(m_k, s_k^2 I)` the noised density is again a mixture, with means
:math:`\alpha m_k` and variances :math:`v_k = \alpha^2 s_k^2 + \sigma^2`, and

.. math:: E[x_0 | x] = \sum_k r_k(x) \left(m_k + \frac{\alpha s_k^2}{v_k} (x - \alpha m_k)\right)

with :math:`r_k` the posterior probability of component k. A finite data set is the mixture of its images
with :math:`s_k = 0`: the ideal denoiser, the best that any network can do on the training set, and one
that can only repeat it (Karras et al. 2022, appendix B.3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from unstir.diffusion.noise_level import NoiseLevel
from unstir.diffusion.prediction import Prediction, divide


class GaussianMixtureDenoiser:
    """The exact denoiser of a mixture of isotropic Gaussians.

    Args:
        means: Shape (K, ...).
        stds: Standard deviation of each component, at least 0, shape (K,).
        weights: Probability of each component, shape (K,); scaled to sum to one.
    """

    def __init__(self, means: Tensor, stds: Tensor, weights: Tensor) -> None:
        self.means = means
        self.stds = stds
        self.weights = weights / weights.sum()

    def __call__(self, x: Tensor, level: NoiseLevel) -> Prediction:
        """Return the exact prediction for ``x`` of shape (B, ...), at a level with ``sigma`` above 0."""
        means = self.means.flatten(1).to(x)
        variances = self.stds.to(x) ** 2
        flat = x.flatten(1)
        alpha, noised = self._noised(flat, level)
        responsibility = self.log_responsibility(x, level).exp()
        gain = divide(alpha * variances, noised)
        x0 = (responsibility * (1 - gain * alpha)) @ means + (responsibility * gain).sum(1, keepdim=True) * flat
        return Prediction.from_x0(x0.reshape(x.shape), x, level)

    def log_responsibility(self, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return log r_k(x), the logarithm of each component's probability, (B, K), for ``x`` (B, ...) at a level.

        It is the exact classifier of noised images; of a class of several components, their sum.
        """
        flat = x.flatten(1)
        alpha, noised = self._noised(flat, level)
        return self.log_joint(flat, self.means.flatten(1).to(x), alpha, noised).log_softmax(dim=1)

    def _noised(self, flat: Tensor, level: NoiseLevel) -> tuple[Tensor, Tensor]:
        """Return alpha, (1 or B, 1), and the variances v_k, (1 or B, K)."""
        alpha, sigma = (coefficient.reshape(-1, 1) for coefficient in level.coefficients(flat))
        return alpha, alpha**2 * self.stds.to(flat) ** 2 + sigma**2

    def log_joint(self, flat: Tensor, means: Tensor, alpha: Tensor, noised: Tensor) -> Tensor:
        """Return log w_k N(x; alpha m_k, v_k I) up to a constant, shape (B, K)."""
        squared = (
            (flat**2).sum(1, keepdim=True) - 2 * alpha * flat @ means.T + alpha**2 * (means**2).sum(1)
        ).clamp(min=0)
        log_density = -0.5 * squared / noised - 0.5 * means.shape[1] * noised.log()
        return self.weights.to(flat).log() + log_density

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` clean samples, shape (n, ...)."""
        component = torch.multinomial(self.weights.double(), n, replacement=True, generator=generator)
        means = self.means[component]
        eps = torch.randn(means.shape, generator=generator, dtype=means.dtype)
        return means + eps * self.stds[component].reshape(-1, *[1] * (means.dim() - 1))


class IdealDenoiser(GaussianMixtureDenoiser):
    """The exact denoiser of a finite data set.

    Args:
        data: The images, shape (N, C, H, W).
    """

    def __init__(self, data: Tensor) -> None:
        super().__init__(data, torch.zeros(len(data)), torch.ones(len(data)))
