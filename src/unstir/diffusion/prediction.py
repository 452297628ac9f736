r"""What is believed of the clean image at a noise level.

``x0`` and ``eps`` describe the same ``x = alpha * x0 + sigma * eps``. Both are kept, so that no caller divides
by a zero ``alpha`` or ``sigma``. From them follow, by the same identity,

.. math:: \nabla_x \log q(x) \approx -\epsilon / \sigma, \qquad v = \alpha \epsilon - \sigma x_0

(Vincent 2011; Salimans and Ho 2022).

A classifier guides by the gradient :math:`g = s \nabla_x \log p(c | x)`, the ``drift`` (Dhariwal and Nichol 2021).
The ancestral sampler moves its mean by it; for all others it is a part of the score, and becomes one of both,

.. math:: \epsilon' = \epsilon - \sigma g, \qquad x_0' = x_0 + \frac{\sigma^2}{\alpha} g

which still describe the same x.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unstir.diffusion.noise_level import NoiseLevel, Numbers, as_float64, broadcast


@dataclass(frozen=True)
class Prediction:
    """The predicted clean image and the predicted noise.

    Attributes:
        x0: Predicted clean images, shape (B, ...).
        eps: Predicted noise, same shape.
        level: The level of the noised images they were predicted from.
        variance: Where the variance of a reverse step lies on the logarithmic way from the posterior's (0) to
            beta (1), same shape as ``x0``; None if it is not predicted (Nichol and Dhariwal 2021, equation 15).
        drift: The gradient of a guidance that ``x0`` and ``eps`` know nothing of yet, same shape; None without.
    """

    x0: Tensor
    eps: Tensor
    level: NoiseLevel
    variance: Tensor | None = None
    drift: Tensor | None = None

    @staticmethod
    def from_x0(x0: Numbers, x: Numbers, level: NoiseLevel, variance: Tensor | None = None) -> Prediction:
        """Complete a predicted clean image. Where ``sigma = 0`` nothing is known of the noise: 0, its mean.

        Args:
            x0: Of the shape of ``x``; or one number for all pixels, or one for each image. What is no tensor gets
                the type of ``x`` and goes to its device.
            x: The noised images, shape (B, ...).
            level: Their level.
            variance: As :attr:`variance`.
        """
        x = x if isinstance(x, Tensor) else as_float64(x)
        x0 = _images(x0, x)
        alpha, sigma = level.coefficients(x)
        return Prediction(x0, divide(x - alpha * x0, sigma), level, variance)

    @staticmethod
    def from_eps(eps: Numbers, x: Numbers, level: NoiseLevel) -> Prediction:
        """Complete a predicted noise, given as :meth:`from_x0`'s image.

        Where ``alpha = 0`` nothing is known of the image: 0, mid-gray.
        """
        x = x if isinstance(x, Tensor) else as_float64(x)
        eps = _images(eps, x)
        alpha, sigma = level.coefficients(x)
        return Prediction(divide(x - sigma * eps, alpha), eps, level)

    def with_x0(self, x0: Tensor, x: Tensor) -> Prediction:
        """Return what is believed of ``x`` if the clean images are these: ``eps`` follows, the rest stays."""
        return replace(Prediction.from_x0(x0, x, self.level, self.variance), drift=self.drift)

    def absorbed(self) -> Prediction:
        """Return the prediction with its drift taken into both (Dhariwal and Nichol 2021, algorithm 2).

        Where ``alpha = 0`` there is nothing to guide: pure noise says nothing of the class, and the drift is left
        out.
        """
        if self.drift is None:
            return self
        alpha, sigma = self.level.coefficients(self.x0)
        x0 = self.x0 + divide(sigma**2 * self.drift, alpha)
        eps = torch.where(alpha == 0, self.eps, self.eps - sigma * self.drift)
        return Prediction(x0, eps, self.level, self.variance)

    @property
    def score(self) -> Tensor:
        """``-eps / sigma``, the gradient of the log-density of the noised images; 0 where ``sigma = 0``.

        A drift that is not absorbed is no part of it.
        """
        return divide(-self.eps, self.level.coefficients(self.eps)[1])

    @property
    def v(self) -> Tensor:
        """``alpha * eps - sigma * x0`` (Salimans and Ho 2022)."""
        alpha, sigma = self.level.coefficients(self.x0)
        return alpha * self.eps - sigma * self.x0


def _images(values: Numbers, x: Tensor) -> Tensor:
    """Return what was predicted, in any form that :meth:`Prediction.from_x0` takes, in the shape of ``x``."""
    if isinstance(values, Tensor) and values.shape == x.shape:
        return values
    values = (values if isinstance(values, Tensor) else as_float64(values)).to(x)
    return (broadcast(values, x) if values.dim() == 1 else values).expand_as(x).contiguous()


def divide(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a / b``, and 0 where ``b`` is 0."""
    zero = b == 0
    return torch.where(zero, torch.zeros_like(a), a / torch.where(zero, torch.ones_like(b), b))
