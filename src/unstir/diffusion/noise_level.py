r"""One point of the forward process.

.. math:: q(x_t | x_0) = N(\alpha_t x_0, \sigma_t^2 I), \qquad x_t = \alpha_t x_0 + \sigma_t \epsilon

In the DDPM paper's symbols :math:`\alpha_t` here is :math:`\sqrt{\bar\alpha_t}` and
:math:`\sigma_t` is :math:`\sqrt{1 - \bar\alpha_t}` (Ho et al. 2020, equation 4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from unstir.errors import InputError

Noise = Callable[[Tensor], Tensor]
"""A source of standard normal noise of the shape, type and device of what it is given, shape (B, ...)."""


Numbers = Tensor | np.ndarray | Sequence[float] | float
"""One number for a whole batch, or one for each image, where a tensor is meant."""


def as_float64(numbers: Numbers) -> Tensor:
    """Return numbers as a float64 tensor on the CPU."""
    if isinstance(numbers, np.ndarray):  # of any strides and byte order, of which PyTorch takes its own alone
        numbers = numbers.astype(np.float64)
    return torch.as_tensor(numbers, dtype=torch.float64, device="cpu")


@dataclass(frozen=True, init=False)
class NoiseLevel:
    """A level of noise: scalars for a whole batch, or one value per image.

    Attributes:
        t: Time in [0, 1], float64, shape () or (B,); 0 is clean data. Numbers, lists and arrays become tensors;
            where one of the three is a number and another has one for each image, it is repeated.
        alpha: The factor of the clean image, in [0, 1], same shape as ``t``.
        sigma: The standard deviation of the noise, at least 0, same shape as ``t``.
    """

    t: Tensor
    alpha: Tensor
    sigma: Tensor

    def __init__(self, t: Numbers, alpha: Numbers, sigma: Numbers) -> None:
        parts = [value if isinstance(value, Tensor) else as_float64(value) for value in (t, alpha, sigma)]
        if not parts[0].shape == parts[1].shape == parts[2].shape:
            parts = torch.broadcast_tensors(*parts)  # type: ignore[no-untyped-call]
        for name, part in zip(("t", "alpha", "sigma"), parts):
            object.__setattr__(self, name, part)

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


def walk_ratios(levels: Sequence[NoiseLevel]) -> list[float]:
    """Return ``sigma / alpha`` of each level of a walk; infinite for pure noise.

    Raises:
        InputError: If a level is not one for all images, is none at all, or repeats the one before it.
    """
    if any(level.alpha.dim() for level in levels):
        raise InputError("The levels of a walk are those of all its images: alpha and sigma are one number each")
    ratios = [float(level.sigma / level.alpha) for level in levels]
    for n, ratio in enumerate(ratios, start=1):
        if not ratio >= 0 or (n > 1 and ratio == ratios[n - 2]):
            raise InputError(
                f"The sigma / alpha of a walk's levels is at least 0 and differs from the one before, and that of "
                f"level number {n} is {ratio:g}"
            )
    return ratios


def check_falling(levels: Sequence[NoiseLevel]) -> None:
    """See once whether each level has less noise than the one before it, as a walk straight to clean data.

    Raises:
        InputError: If one has not, or they are no levels of a walk.
    """
    for n, (here, there) in enumerate(pairwise(walk_ratios(levels)), start=1):
        if there > here:
            raise InputError(
                f"The levels of a walk fall from noise to data: sigma / alpha is {there:g} at the level after "
                f"number {n}, and must be less than {here:g}"
            )


def broadcast(value: Tensor, x: Tensor) -> Tensor:
    """Return ``value``, of shape () or (B,), in the type and device of ``x`` (B, ...), ready to multiply it."""
    value = value.to(device=x.device, dtype=x.dtype)
    return value.reshape(value.shape + (1,) * (x.dim() - 1)) if value.dim() else value
