r"""What keeps a codec's codes in bounds: a pull towards N(0, I), or a codebook.

KL: the encoder says a mean and a log variance of each number, codes are drawn from them, and the loss has

.. math:: KL(N(\mu, e^\lambda) \| N(0, I)) = \tfrac12 \sum_j (\mu_j^2 + e^{\lambda_j} - 1 - \lambda_j).

VQ (van den Oord et al. 2017): the decoder sees the nearest q of finitely many codes, gradients pass to the encoder
as if it were its code z, and both are drawn to each other,

.. math:: y = z + \mathrm{sg}(q - z), \qquad
          L = \tfrac{1}{c h w} \left( \| \mathrm{sg}(z) - q \|^2 + \beta \| z - \mathrm{sg}(q) \|^2 \right).

Where each code is learned by itself, those that no z is near to are never moved and stay unused. Here the codebook
is frozen random numbers e seen through one learned map, :math:`q = W e + b` (Zhu et al. 2024, SimVQ): whatever
moves one code moves all. And z has unit variance, as the numbers e have, or one code may be the nearest to all.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from unstir.networks.standard import Standard

AT_ONCE = 2**24
"""Distances that are held in memory at a time."""


class Regularization(Protocol):
    """What stands between an encoder and a decoder.

    Attributes:
        name: Of what it measures.
        weight: Of that in the loss.
    """

    name: str
    weight: float

    def moments(self, h: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the mean of codes and their log variance, each (B, c, h, w), of what an encoder returns.

        The second is None where a code is certain.
        """
        ...

    def seen(self, codes: Tensor, standard: Standard) -> Tensor:
        """Return what the decoder sees of codes (B, c, h, w) of unit variance.

        Args:
            codes: Their gradients are as if they were it.
            standard: What made them of what the encoder says.
        """
        ...

    def loss(self, codes: Tensor, mean: Tensor, log_variance: Tensor | None) -> Tensor:
        """Return its loss (B,) for codes of unit variance and the moments that they were drawn from."""
        ...


class KL(nn.Module):
    """A pull of drawn codes towards N(0, I); its loss is the divergence in nats, divided by the size of an image.

    Args:
        weight: Of the loss.
        size: How many numbers an image has.
    """

    name = "kl"

    def __init__(self, weight: float, size: int) -> None:
        super().__init__()
        self.weight, self.size = weight, size

    def moments(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return the halves of ``h`` (B, 2 c, h, w): means and log variances, these within [-30, 20]."""
        mean, log_variance = h.chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def seen(self, codes: Tensor, standard: Standard) -> Tensor:
        """Return the codes as the encoder has them."""
        return standard.undone(codes)

    def loss(self, codes: Tensor, mean: Tensor, log_variance: Tensor | None) -> Tensor:
        """Return the divergence (B,), in nats for each number of an image."""
        assert log_variance is not None
        return kl_to_standard(mean, log_variance) / self.size


def kl_to_standard(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Return :math:`KL(N(\mu, e^\lambda) \| N(0, I))` in nats, (B,), for means and log variances (B, ...)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(1)


class VQ(nn.Module):
    """A codebook of frozen random numbers seen through a learned map.

    Args:
        latent: Channels of the codes.
        codes: How many there are.
        beta: The weight of the encoder's commitment.
    """

    name = "quantization"
    weight = 1.0

    def __init__(self, latent: int, codes: int, beta: float) -> None:
        super().__init__()
        self.beta = beta
        self.book = nn.Buffer(torch.randn(codes, latent))
        # No linear layer, whose weights would be rounded in a copy in low precision.
        self.map, self.shift = nn.Parameter(torch.eye(latent)), nn.Parameter(torch.zeros(latent))

    @property
    def codes(self) -> Tensor:
        """The codes (K, c)."""
        return self.book @ self.map.T + self.shift

    def moments(self, h: Tensor) -> tuple[Tensor, None]:
        """Return the codes before they are quantized, and that they are certain."""
        return h, None

    @torch.no_grad()
    def indices(self, codes: Tensor) -> Tensor:
        """Return the number of the nearest code, int64 (B, h, w), of each place of codes (B, c, h, w)."""
        with torch.autocast(codes.device.type, enabled=False):
            known = self.codes
            places = codes.float().permute(0, 2, 3, 1).reshape(-1, codes.shape[1])
            half = known.square().sum(1) / 2
            parts = places.split(max(1, AT_ONCE // len(known)))
            nearest = torch.cat([torch.addmm(half, part, known.T, alpha=-1).argmin(1) for part in parts])
        return nearest.view(len(codes), *codes.shape[2:])

    def nearest(self, codes: Tensor) -> Tensor:
        """Return the nearest codes, of the shape of these (B, c, h, w), as a function of the map alone."""
        with torch.autocast(codes.device.type, enabled=False):
            return self.codes[self.indices(codes)].permute(0, 3, 1, 2)

    def seen(self, codes: Tensor, standard: Standard) -> Tensor:
        """Return the nearest codes, with the gradient of these."""
        return codes + (self.nearest(codes) - codes).detach()

    def loss(self, codes: Tensor, mean: Tensor, log_variance: Tensor | None) -> Tensor:
        """Return how far codes and the nearest are apart, (B,): that of the map, and beta times the encoder's."""
        nearest = self.nearest(codes)
        moved, committed = (codes.detach() - nearest).square(), (codes - nearest.detach()).square()
        return (moved + self.beta * committed).flatten(1).mean(1)
