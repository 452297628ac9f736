r"""The variational autoencoder (Kingma and Welling 2014): an encoder, a decoder, and a bound on the likelihood.

With a latent vector :math:`z \sim N(0, I)`, an encoder :math:`q(z | x) = N(\mu, \mathrm{diag}(e^{\lambda}))` and a
decoder :math:`p(x | z) = N(m(z), s^2 I)`,

.. math:: -\log p(x) \le E_q[-\log p(x | z)] + KL(q(z | x) \| N(0, I)),

.. math:: KL = \tfrac12 \sum_j (\mu_j^2 + e^{\lambda_j} - 1 - \lambda_j).

The expectation is taken at one :math:`z = \mu + e^{\lambda / 2} \epsilon`, through which gradients flow to the
encoder.

The deviation s, one for all pixels, is learned with the rest (Rybkin et al. 2021). It balances the two terms: with
one fixed at 1, an error in the pixels would cost so little that hardly anything were encoded. What is drawn is the
mean m(z), since images have no such noise about it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.diffusion import Condition
from unstir.models.config import Labels, label_indices
from unstir.models.latent import Conditioned, LatentDrawing
from unstir.models.model import Batch, Examples, Model, check_shape
from unstir.networks.convolutional import Encoder
from unstir.networks.regularization import kl_to_standard

if TYPE_CHECKING:
    from unstir.models.systems import VAEConfig

LEAST_DEVIATION = 1 / 255
"""Half a step between two of 256 gray levels in [-1, 1]: below it, the density of bytes grows without end."""

FIRST_LOG_DEVIATION = 0.0
"""From s = 1: while codes are dear, the networks learn to use what they are told, which costs nothing."""

AT_ONCE = 500


class VAE(LatentDrawing):
    """An encoder and a decoder of images (B, C, H, W) in [-1, 1], both told what the configuration names."""

    config: VAEConfig

    def __init__(self, config: VAEConfig, parts: Mapping[str, Model]) -> None:
        super().__init__(config, parts)
        shape: tuple[int, int, int] = config.samples.shape  # type: ignore[assignment]
        encoder = Encoder(config.encoder.build(shape), config.latent)
        decoder = config.decoder.build(shape, config.latent, config.samples.bounded)
        self.encoder = Conditioned(encoder, config.told, config.encoder.features)
        self.decoder = Conditioned(decoder, config.told, config.decoder.embedding)
        self.raw_log_deviation = nn.Parameter(torch.tensor(FIRST_LOG_DEVIATION))

    @property
    def log_deviation(self) -> Tensor:
        """The logarithm of s, at least that of ``LEAST_DEVIATION``, towards which its slope fades."""
        floor = math.log(LEAST_DEVIATION)
        return floor + functional.softplus(self.raw_log_deviation.float() - floor)

    def prepare(self, examples: Examples, generator: torch.Generator) -> Batch:
        """Draw the noise of each code, and what is hidden from both networks."""
        x, _ = examples
        eps = torch.randn(len(x), self.config.latent, generator=generator)
        return Batch(x=x, eps=eps, **self.part_hidden(examples, generator))

    def losses(self, turn: str, batch: Batch, average: Model) -> dict[str, Tensor]:
        """Return the negative bound on log p(x), in nats for each dimension, and its two parts."""
        x, condition = batch["x"], batch.get("condition")
        mean, log_variance = self.encoder(x, condition)
        z = mean + (log_variance / 2).exp() * batch["eps"]
        decoded = self.decoder(z, condition)
        surprise = gaussian_surprise(x, decoded, self.log_deviation).flatten(1).mean(1)
        kl = kl_to_standard(mean, log_variance) / x[0].numel()
        return {"loss": surprise + kl, "reconstruction": surprise, "kl": kl}

    def generate(self, z: Tensor, condition: Condition | None) -> Tensor:
        """Return the decoder's means."""
        return self.decoder(z, condition)  # type: ignore[no-any-return]

    @torch.no_grad()
    def encode(self, images: Tensor, *, label: Labels = None) -> Tensor:
        """Return the codes: the means of q(z | x), float32 (n, L), on the images' device.

        Args:
            images: float32 (n, C, H, W) in [-1, 1].
            label: What they show: one for all, or one for each, by name or by number; None hides it.

        Raises:
            InputError: For images of another shape, a label the model does not know, or none for a model that
                never was without.
        """
        check_shape(self, images)
        condition = self._condition(label, len(images))
        model, codes = self.lowered(), []
        with self.in_precision:
            for rows in _slices(len(images)):
                part = None if condition is None else condition[rows].to(self.device)
                codes.append(model.encoder(images[rows].to(self.device), part)[0])
        return torch.cat(codes).to(images.device)

    @torch.no_grad()
    def decode(self, codes: Tensor, *, label: Labels = None) -> Tensor:
        """Return the images of codes (n, L): float32 (n, C, H, W) in [-1, 1], on the codes' device.

        ``decode(encode(images))`` reconstructs; with another label than the images' own, the same hand draws
        another digit.

        Args:
            codes: float32 (n, L).
            label: What the images are to show, as in ``encode``.

        Raises:
            InputError: For codes of another width, or as for ``encode``.
        """
        self.check_noise(codes)
        condition = self._condition(label, len(codes))
        model, images = self.lowered(), []
        with self.in_precision:
            for rows in _slices(len(codes)):
                part = None if condition is None else condition[rows].to(self.device)
                images.append(model.decoder(codes[rows].to(self.device), part))
        return torch.cat(images).to(codes.device)

    def _condition(self, label: Labels, count: int) -> Condition | None:
        if label is None:
            self.config.hideable("A code without a label")
            return None
        labels = label_indices(self.config.classes, label, range(count))
        return None if labels is None else Condition.of({"label": torch.tensor(labels)})


def gaussian_surprise(x: Tensor, mean: Tensor, log_deviation: Tensor) -> Tensor:
    r"""Return :math:`-\log N(x; m, s^2)` for each element, in nats."""
    scaled = (x.float() - mean.float()) * (-log_deviation).exp()
    return 0.5 * scaled.square() + log_deviation + 0.5 * math.log(2 * math.pi)


def _slices(count: int) -> list[slice]:
    return [slice(first, first + AT_ONCE) for first in range(0, count, AT_ONCE)]
