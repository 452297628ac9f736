r"""Posterior guidance: draws images that agree with a measurement of them, by gradients through the denoiser.

Of a clean image only :math:`y = A x_0 + r n` is known, A linear and n standard normal noise: an image through a
mask or a blur. What a walk needs is the score given y,

.. math:: \nabla_x \log p(x | y) = \nabla_x \log p(x) + \nabla_x \log p(y | x)

Given x, the clean image has the mean :math:`\hat x_0(x)` and the covariance :math:`V = (\sigma^2 / \alpha) J`,
where :math:`J = \partial \hat x_0 / \partial x` (Tweedie's second moment). Taken as Gaussian with these two,

.. math:: \nabla_x \log p(y | x) \approx J^\top A^\top u, \qquad (A V A^\top + r^2 I)\, u = y - A \hat x_0

(Rozet et al. 2024, moment matching; Finzi et al. 2023). Of data that are Gaussian, correlated or not, it is
exact. The system is solved by conjugate gradients from u = 0, which need products with J alone: one backward pass
each.

Why this one of its family: diffusion posterior sampling (Chung et al. 2023) takes the residual itself for u, and
so needs a step length that is tuned for each task; one round of conjugate gradients is that with the length that
the curvature gives. Pseudoinverse guidance (Song et al. 2023) takes V for a multiple of I, so that it has a
variance to choose, and knows nothing of which pixels go together: at low noise it pulls at the known pixels
alone. More rounds know more of it, at one more backward pass each; there is nothing to tune.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel, Prediction
from unstir.diffusion.noise_level import broadcast
from unstir.diffusion.prediction import divide
from unstir.errors import InputError


class Measurement(Protocol):
    """A linear map of images (B, C, H, W) that is its own transpose, as a mask or a mirrored blur."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """Return A x."""
        ...


class Mask:
    """Known pixels: the others are measured as 0.

    Args:
        hidden: Which pixels are not known; bool, of a shape that broadcasts with the images.
    """

    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden

    def __call__(self, x: Tensor) -> Tensor:
        """Return the known pixels, and 0 elsewhere."""
        return torch.where(self.hidden, torch.zeros_like(x), x)


class Blur:
    """A Gaussian blur of images that are mirrored at their edges: along each axis a symmetric matrix.

    Args:
        height: H of the images.
        width: W of the images.
        sigma: The standard deviation of the blur in pixels, above 0.

    Raises:
        InputError: If ``sigma`` is not above 0, or larger than 10 sides.
    """

    def __init__(self, height: int, width: int, sigma: float) -> None:
        if not 0 < sigma <= 10 * max(height, width):
            raise InputError(f"The sigma of a blur is above 0 pixels and at most 10 sides, not {sigma:g}")
        self.down, self.across = (blur_matrix(length, sigma) for length in (height, width))

    def __call__(self, x: Tensor) -> Tensor:
        """Return the blurred images."""
        with torch.autocast(x.device.type, enabled=False):
            return self.down.to(x) @ x @ self.across.to(x)


def blur_matrix(length: int, sigma: float) -> Tensor:
    """Return the Gaussian blur of a line that is mirrored at its ends, float64 (length, length).

    It is symmetric, and its rows sum to 1. ``sigma`` is in pixels; the kernel reaches to 6 of it.
    """
    reach = int(6 * sigma) + 1
    offsets = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    place = (torch.arange(length)[:, None] + offsets) % (2 * length)
    mirrored = torch.minimum(place, 2 * length - 1 - place)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, mirrored, (kernel / kernel.sum()).expand(length, -1))


def measured(denoise: Denoise, y: Tensor, measurement: Measurement, noise: float, rounds: int = 3) -> Denoise:
    """Return the denoiser of images given what was measured of them.

    A call costs one forward and ``rounds + 1`` backward passes. An image's guidance depends on no other's.

    Args:
        denoise: What is guided; gradients flow through it.
        y: What was measured, A x0 with noise, shape (B, ...) or (1, ...).
        measurement: A.
        noise: r, the standard deviation of the measurement's own noise, above 0: what has been lost is not to be
            blown up, and pixels of 8 bits are rounded.
        rounds: Of conjugate gradients, at least 1.

    Raises:
        InputError: For noise or rounds out of range.
    """
    if not noise > 0 or rounds < 1:
        raise InputError(
            f"Noise of {noise:g} and {rounds} rounds: noise is above 0, and there is at least one round"
        )

    def guided(x: Tensor, level: NoiseLevel) -> Prediction:
        alpha, sigma = level.coefficients(x)
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            prediction = denoise(point, level)
            x0 = prediction.x0

        def slope(u: Tensor) -> Tensor:
            (product,) = torch.autograd.grad(x0, point, measurement(u).to(x0), retain_graph=True)
            return product.detach()

        def covariance(u: Tensor) -> Tensor:
            return measurement(divide(sigma**2 * slope(u), alpha)) + noise**2 * u

        pull = slope(_solved(covariance, y - measurement(x0.detach()), rounds))
        variance = None if prediction.variance is None else prediction.variance.detach()
        found = Prediction(x0.detach(), prediction.eps.detach(), prediction.level, variance, pull).absorbed()
        return replace(found, drift=None if prediction.drift is None else prediction.drift.detach())

    return guided


def _solved(matrix: Callable[[Tensor], Tensor], b: Tensor, rounds: int) -> Tensor:
    """Return about the solution u of ``matrix(u) = b`` (B, ...), each image's by itself, by conjugate gradients.

    Where the matrix turns out not to be positive, as a network's may, an image's search ends.
    """

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return broadcast((u * v).flatten(1).sum(1), u)

    u, residual, direction = torch.zeros_like(b), b, b
    for _ in range(rounds):
        product = matrix(direction)
        size, curvature = dot(residual, residual), dot(direction, product)
        length = divide(size, curvature.clamp(min=0))
        u, residual = u + length * direction, residual - length * product
        direction = torch.where(length > 0, residual + divide(dot(residual, residual), size) * direction, 0)
    return u
