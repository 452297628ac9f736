r"""The data as a normal distribution: the ceiling of the loss, and a model whose samples are known exactly.

The best linear denoiser knows of the data its mean m and its variances :math:`\lambda_k` along directions that are
independent (Wiener 1949):

.. math:: \hat x_{0,k} = m_k + g_k (x_k - \alpha m_k), \qquad
          g_k = \frac{\alpha \lambda_k}{\alpha^2 \lambda_k + \sigma^2}

Its error on images of second moments :math:`s_k` about m is :math:`(1 - \alpha g_k)^2 s_k + g_k^2 \sigma^2`, which
any network that has learned something beats. Few pixels have the eigenvectors of their covariance as directions;
more have waves, of each colour by itself, since that covariance could neither be estimated nor decomposed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel

MOST_EXACT = 1024
"""Up to so many numbers an image's covariance is decomposed."""


@dataclass(frozen=True)
class Basis:
    """Orthonormal directions along which images are taken to be independent.

    Attributes:
        mean: (C, H, W).
        colours: (C, C), columns orthonormal; None where ``vectors`` are.
        vectors: (D, D), columns orthonormal; None for waves.
    """

    mean: Tensor
    colours: Tensor | None
    vectors: Tensor | None

    @staticmethod
    def of(images: Tensor) -> Basis:
        """Return the directions of images (N, C, H, W), float64."""
        mean = images.mean(0)
        centred = images - mean
        if mean.numel() <= MOST_EXACT:
            flat = centred.flatten(1)
            return Basis(mean, None, torch.linalg.eigh(flat.T @ flat / len(flat)).eigenvectors)
        colour = torch.einsum("nchw,ndhw->cd", centred, centred)
        return Basis(mean, torch.linalg.eigh(colour).eigenvectors, None)

    def squares(self, images: Tensor) -> Tensor:
        """Return the squares of images (N, C, H, W) along each direction, (N, D)."""
        centred = images - self.mean
        if self.vectors is not None:
            return (centred.flatten(1) @ self.vectors) ** 2
        assert self.colours is not None
        mixed = torch.einsum("nchw,cd->ndhw", centred, self.colours)
        return torch.fft.fft2(mixed, norm="ortho").abs().pow(2).flatten(1)

    def scaled(self, centred: Tensor, factors: Tensor) -> Tensor:
        """Return images (N, C, H, W) about the mean, each direction multiplied by its factor (D,)."""
        if self.vectors is not None:
            return ((centred.flatten(1) @ self.vectors * factors) @ self.vectors.T).view_as(centred)
        assert self.colours is not None
        waves = torch.fft.fft2(torch.einsum("nchw,cd->ndhw", centred, self.colours))
        mixed = torch.fft.ifft2(waves * factors.view(centred.shape[1:])).real
        return torch.einsum("ndhw,cd->nchw", mixed, self.colours)


def gain(variances: Tensor, level: NoiseLevel) -> Tensor:
    """Return g of each direction, float64 of the shape of its variance, at a scalar level."""
    return level.alpha * variances / (level.alpha**2 * variances + level.sigma**2).clamp(min=1e-30)


class Gaussian:
    """A normal distribution of images.

    Args:
        images: To learn it from, (N, C, H, W) in [-1, 1].
        held_out: On which the ceiling is, of the same shape.

    Attributes:
        basis: The directions.
        variances: Along each direction, float64 (D,).
        seen: The second moments of the held-out images about the mean, float64 (D,).
    """

    def __init__(self, images: Tensor, held_out: Tensor) -> None:
        self.basis = Basis.of(images.double())
        self.variances = self.basis.squares(images.double()).mean(0)
        self.seen = self.basis.squares(held_out.double()).mean(0)

    @property
    def variance(self) -> float:
        """Of a pixel, about its own mean."""
        return float(self.variances.mean())

    def ceiling(self, level: NoiseLevel, scale: float = 1.0) -> float:
        """Return the linear denoiser's mean squared error a pixel on the held-out images at a level.

        Args:
            level: Scalar.
            scale: By which all images are multiplied.
        """
        alpha, sigma = float(level.alpha), float(level.sigma)
        own, seen = scale**2 * self.variances, scale**2 * self.seen
        g = gain(own, level)
        return float(((1 - alpha * g) ** 2 * seen + g**2 * sigma**2).mean())

    def denoise(self, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return the linear denoiser's clean images, float64 (N, C, H, W), at a scalar level."""
        mean = self.basis.mean
        return mean + self.basis.scaled(x.double() - float(level.alpha) * mean, gain(self.variances, level))
