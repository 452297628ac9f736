r"""One point of the forward process.

.. math:: q(x_t | x_0) = N(\alpha_t x_0, \sigma_t^2 I), \qquad x_t = \alpha_t x_0 + \sigma_t \epsilon

In the DDPM paper's symbols :math:`\alpha_t` here is :math:`\sqrt{\bar\alpha_t}` and
:math:`\sigma_t` is :math:`\sqrt{1 - \bar\alpha_t}` (Ho et al. 2020, equation 4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Noise = Callable[[Tensor], Tensor]
"""A source of standard normal noise of the shape, type and device of what it is given, shape (B, ...)."""


@dataclass(frozen=True)
class NoiseLevel:
    """A level of noise: scalars for a whole batch, or one value per image.

    Attributes:
        t: Time in [0, 1], float64, shape () or (B,); 0 is clean data.
        alpha: The factor of the clean image, in [0, 1], same shape as ``t``.
        sigma: The standard deviation of the noise, at least 0, same shape as ``t``.
    """

    t: Tensor
    alpha: Tensor
    sigma: Tensor

    @staticmethod
    def clean() -> NoiseLevel:
        """Return the level of clean data: ``t = 0``, ``alpha = 1``, ``sigma = 0``."""
        zero = torch.zeros((), dtype=torch.float64)
        return NoiseLevel(zero, zero + 1, zero)

    @staticmethod
    def stack(levels: Sequence[NoiseLevel]) -> NoiseLevel:
        """Return levels of shape () as one of shape (L,)."""
        parts = ([getattr(level, part) for level in levels] for part in ("t", "alpha", "sigma"))
        return NoiseLevel(*map(torch.stack, parts))

    def __getitem__(self, index: Tensor | slice | int) -> NoiseLevel:
        """Return some of the levels along the first axis."""
        return NoiseLevel(self.t[index], self.alpha[index], self.sigma[index])

    @property
    def snr(self) -> Tensor:
        """The signal-to-noise ratio ``alpha^2 / sigma^2``; infinite for clean data."""
        return self.alpha**2 / self.sigma**2

    @property
    def log_snr(self) -> Tensor:
        """``log(alpha^2 / sigma^2)``, falling from ``inf`` at clean data to ``-inf`` at pure noise."""
        return 2 * (self.alpha.log() - self.sigma.log())

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(alpha, sigma)`` in the type and on the device of ``x``, shaped to multiply it.

        Args:
            x: Images of shape (B, ...).
        """
        return broadcast(self.alpha, x), broadcast(self.sigma, x)

    def noise(self, x0: Tensor, eps: Tensor) -> Tensor:
        """Return ``x_t = alpha * x0 + sigma * eps`` (Ho et al. 2020, equation 4).

        Args:
            x0: Clean images, shape (B, ...).
            eps: Standard normal noise of the same shape.
        """
        alpha, sigma = self.coefficients(x0)
        return alpha * x0 + sigma * eps


def broadcast(value: Tensor, x: Tensor) -> Tensor:
    """Return ``value``, of shape () or (B,), in the type and device of ``x`` (B, ...), ready to multiply it."""
    value = value.to(device=x.device, dtype=x.dtype)
    return value.reshape(value.shape + (1,) * (x.dim() - 1)) if value.dim() else value
