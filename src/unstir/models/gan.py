r"""The generative adversarial network (Goodfellow et al. 2014): a generator, and a discriminator that teaches it.

The discriminator's logit D says how real an image is. In turn they descend, with the non-saturating loss,

.. math:: L_D = \mathrm{softplus}(-D(x)) + \mathrm{softplus}(D(G(z))) + \frac\gamma2 \|\nabla_x D(x)\|^2, \qquad
          L_G = \mathrm{softplus}(-D(G(z))),

since the original :math:`-\mathrm{softplus}(D(G(z)))` has next to no slope where the discriminator is sure. The
penalty R1 on real images (Mescheder et al. 2018) keeps the discriminator from pulling away from data that the
generator has reached already: without it, the two may circle for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.diffusion import Condition
from unstir.models.latent import Conditioned, LatentDrawing
from unstir.models.model import Batch, Examples, Model
from unstir.networks.convolutional import Discriminator

if TYPE_CHECKING:
    from unstir.models.systems import GANConfig


class GAN(LatentDrawing):
    """A generator and a discriminator of images (B, C, H, W), both told what the configuration names."""

    config: GANConfig
    turns = ("discriminator", "generator")

    def __init__(self, config: GANConfig, parts: Mapping[str, Model]) -> None:
        super().__init__(config, parts)
        shape: tuple[int, int, int] = config.samples.shape  # type: ignore[assignment]
        generator = config.generator.build(shape, config.latent, config.samples.bounded)
        discriminator = Discriminator(config.discriminator.build(shape))
        self.generator = Conditioned(generator, config.told, config.generator.embedding)
        self.discriminator = Conditioned(discriminator, config.told, config.discriminator.features)

    def prepare(self, examples: Examples, generator: torch.Generator) -> Batch:
        """Draw the latent vectors of both turns; the images drawn are told what the real ones are."""
        x, _ = examples
        z = torch.randn(2, len(x), self.config.latent, generator=generator)
        told = self.part_hidden(examples, generator)
        return Batch(x=x, z_discriminator=z[0], z_generator=z[1], **told)

    def learning(self, turn: str) -> list[nn.Parameter]:
        """Return the parameters of the network that the turn is named for."""
        return list(getattr(self, turn).parameters())

    def losses(self, turn: str, batch: Batch, average: Model) -> dict[str, Tensor]:
        """Return the turn's loss.

        The discriminator descends on ``discriminator_loss``, the sum of ``discriminator``, how badly it tells
        images apart, and gamma / 2 times ``r1``. Where no gradients are taken, as for validation, there is only
        the former.
        """
        condition = batch.get("condition")
        if turn == "generator":
            fake = self.generator(batch["z_generator"], condition)
            return {"generator": functional.softplus(-self.discriminator(fake, condition))}
        with torch.no_grad():
            fake = self.generator(batch["z_discriminator"], condition)
        apart = functional.softplus(self.discriminator(fake, condition))
        penalized = torch.is_grad_enabled() and self.config.r1 > 0
        real = batch["x"].detach().requires_grad_(penalized)
        with _wide_range(real.device) if penalized else nullcontext():
            logits = self.discriminator(real, condition)
            apart = apart + functional.softplus(-logits)
            if not penalized:
                return {"discriminator": apart}
            r1 = squared_slope(logits, real)
        return {"discriminator_loss": apart + self.config.r1 / 2 * r1, "discriminator": apart, "r1": r1}

    def generate(self, z: Tensor, condition: Condition | None) -> Tensor:
        """Return the generator's images."""
        return self.generator(z, condition)  # type: ignore[no-any-return]


def squared_slope(logits: Tensor, x: Tensor) -> Tensor:
    """Return the squared norm of each logit's gradient with respect to its image, float32 (B,), differentiably.

    Args:
        logits: (B,), each of which depends on its own image alone.
        x: (B, ...).
    """
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return slope.float().square().flatten(1).sum(1)


def _wide_range(device: torch.device) -> AbstractContextManager[object]:
    """Return the context for gradients of gradients: what float16 has no range for is computed in float32."""
    half = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) == torch.float16
    return torch.autocast(device.type, enabled=False) if half else nullcontext()
