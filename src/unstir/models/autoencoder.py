r"""The codec of latent diffusion (Rombach et al. 2022): an autoencoder whose codes are small maps.

An encoder E and a decoder D descend on

.. math:: L = \| x - \hat x \|_1 + w_p\, d(x, \hat x) + w_r R(z) + w_a \lambda L_G, \qquad
          L_G = -D_\psi(\hat x), \quad
          \lambda = \frac{\| \nabla_\theta (\| x - \hat x \|_1 + w_p d) \|}{\| \nabla_\theta L_G \| + 10^{-6}}

with the reconstruction :math:`\hat x = D(z)`, the perceptual distance d (:mod:`unstir.networks.perceptual`), the
regularization R (:mod:`unstir.networks.regularization`), and a discriminator of patches that descends on the hinge
loss

.. math:: L_D = \tfrac12 \max(0, 1 - D_\psi(x)) + \tfrac12 \max(0, 1 + D_\psi(\hat x)).

Each norm is taken at the weights :math:`\theta` of the decoder's last layer (Esser et al. 2021), so that the
adversary pulls as hard there as the reconstruction does. It begins late: before images are recognizable it has
nothing to teach. Means are taken over pixels and places.

Codes have unit variance (:mod:`unstir.networks.standard`), as what learns to draw them takes them to have. With a
codebook they are those before quantization: decoding quantizes first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.errors import InputError
from unstir.models.model import Batch, Examples, Model
from unstir.networks.perceptual import Distance, between
from unstir.networks.perceptual_config import CLASSIFIER, NONE
from unstir.networks.regularization import VQ
from unstir.networks.resize import pad_to
from unstir.networks.standard import Standard
from unstir.processes import summed
from unstir.sampling.tiles import Tile, in_tiles

if TYPE_CHECKING:
    from unstir.models.autoencoder_config import CodecConfig

TILE, OVERLAP = 512, 128
"""The side of a tile of large images and by how much tiles overlap, in pixels."""

AT_ONCE = 2**19
"""Pixels of the images that are encoded or decoded together."""

LARGEST_WEIGHT = 1e4
"""Of the adversary's lambda where errors are summed over an image, as the paper's are; here they are means.

Without a bound an adversary at a loss, whose gradients are small and say nothing, would be heard all the louder.
"""

LIFT = 2.0**10
"""By how much gradients are raised while their norms are taken: in fp16 those of single pixels would be lost."""


class Autoencoder(Model):
    """A codec of images (B, C, H, W) in [-1, 1]."""

    config: CodecConfig

    def __init__(self, config: CodecConfig, parts: Mapping[str, Model]) -> None:
        super().__init__(config, parts)
        channels, network = config.samples.shape[0], config.network
        self.encoder = network.encoder(channels, config.regularization.outputs(network.latent))
        self.decoder = network.decoder(channels)
        self.regularization: Any = config.regularization.build(network.latent, math.prod(config.samples.shape))
        self.standard = Standard(network.latent)
        if config.adversary.weight:
            self.turns = ("codec", "discriminator")
            self.discriminator = config.adversary.discriminator.build(channels)
            self.seen = nn.Buffer(torch.zeros((), dtype=torch.int64), persistent=False)
        else:
            self.turns = ("codec",)

    def prepare(self, examples: Examples, generator: torch.Generator) -> Batch:
        """Draw the noise of each code, and by how many pixels each image is moved where the eye compares it."""
        x, _ = examples
        factor = self.config.network.factor
        height, width = (-(-side // factor) for side in x.shape[2:])
        eps = torch.randn(len(x), self.config.network.latent, height, width, generator=generator)
        return Batch(x=x, eps=eps, shift=torch.randint(0, 2, (len(x), 2), generator=generator))

    def learning(self, turn: str) -> list[nn.Parameter]:
        """Return the parameters of the discriminator, or of all else."""
        if turn == "discriminator":
            return list(self.discriminator.parameters())
        return [p for part in (self.encoder, self.decoder, self.regularization) for p in part.parameters()]

    def memory(self) -> dict[str, Tensor]:
        """How many images have been seen, by which the adversary begins."""
        return {"seen": self.seen} if "discriminator" in self.turns else {}

    def observe(self, turn: str, batch: Batch, losses: Mapping[str, Tensor]) -> None:
        """Count the images, once both turns have been."""
        if turn == "discriminator":
            self.seen += len(batch["x"])

    @property
    def begun(self) -> bool:
        """Whether the adversary is heard."""
        return "discriminator" in self.turns and bool(self.seen >= self.config.adversary.after)

    def losses(self, turn: str, batch: Batch, average: Model) -> dict[str, Tensor]:
        """Return the turn's losses.

        The codec descends on ``codec_loss``, the sum of ``codec`` (the weighted ``reconstruction``, ``perceptual``
        and regularization) and of ``adversarial`` times its weights, of which lambda is logged as
        ``adversarial_weight``. Where no gradients are taken, as for validation, there is no lambda, and ``codec``
        is the loss. Before the adversary has begun its losses are 0.
        """
        if turn == "discriminator":
            return {"discriminator": self._told_apart(batch)}
        x = batch["x"]
        mean, log_variance = self.regularization.moments(self.encoder(x))
        z = drawn(mean, log_variance, batch["eps"])
        if self.training:
            self.standard.observe(z)
        codes = self.standard(z)
        made = self._made(codes, x.shape[2:])
        batch["made"] = made.detach()  # for the discriminator's turn, which would have to make them again
        error, parts = self._error(made, x, batch["shift"])
        parts[self.regularization.name] = regularity = self.regularization.loss(codes, mean, log_variance)
        rest = self.regularization.weight * regularity
        if not torch.is_grad_enabled() or "discriminator" not in self.turns:
            return {"codec": error + rest, **parts}
        parts = {"codec": error + rest, **parts}
        loss, adversarial, weight = error, torch.zeros_like(error), error.new_zeros(())
        if self.begun:
            adversarial, last = -self.discriminator(made).mean(1), self.decoder.out.weight
            loss, weight = balanced(made, last, error, adversarial, self.config.adversary.weight)
        parts |= {"adversarial": adversarial, "adversarial_weight": weight.expand(len(x))}
        return {"codec_loss": loss + rest} | {name: value.detach() for name, value in parts.items()}

    def _made(self, codes: Tensor, size: Sequence[int]) -> Tensor:
        """Return the images of codes, of this height and width."""
        height, width = size
        return self.decoder(self.regularization.seen(codes, self.standard))[..., :height, :width]

    def _error(self, made: Tensor, x: Tensor, shift: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return how far reconstructions are from images, (B,), and what that is made of.

        A network that sees every second pixel first does not see a pattern of every second pixel, which would
        come for free: images are moved by a pixel or none, at random.
        """
        parts = {"reconstruction": (made - x).abs().flatten(1).mean(1)}
        distance = self._distance()
        if distance is None:
            return parts["reconstruction"], parts
        parts["perceptual"] = distance(moved(made, shift), moved(x, shift))
        return parts["reconstruction"] + self.config.perceptual.weight * parts["perceptual"], parts

    def _distance(self) -> Distance | None:
        """Return the perceptual distance; its network is no part of the model, and read when asked for."""
        chosen = self.config.perceptual
        if chosen.name == NONE:
            return None
        if chosen.name == CLASSIFIER:
            return between(self.parts[CLASSIFIER].layers)  # type: ignore[arg-type]
        return chosen.load(self.device)

    def _told_apart(self, batch: Batch) -> Tensor:
        """Return the hinge loss (B,); before the adversary has begun, 0 at next to no cost."""
        x = batch["x"]
        if not self.begun:
            return (0 * self.discriminator.out.bias.sum()).expand(len(x))
        made = batch.get("made")
        if made is None:
            with torch.no_grad():
                mean, log_variance = self.regularization.moments(self.encoder(x))
                codes = self.standard(drawn(mean, log_variance, batch["eps"]))
                made = self._made(codes, x.shape[2:])
        real, fake = self.discriminator(torch.cat([x, made])).chunk(2)
        return (functional.relu(1 - real).mean(1) + functional.relu(1 + fake).mean(1)) / 2

    def moments(self, images: Tensor) -> Tensor:
        """Return what is to be known of images to draw their codes from: their means, and where codes are drawn
        their log variances behind these, (B, c or 2 c, h, w).

        Args:
            images: float32 (B, C, H, W) in [-1, 1], of any height and width.

        Raises:
            InputError: For images of other channels.
        """
        return self._read(images, whole=True)

    def codes(self, moments: Tensor, generator: torch.Generator) -> Tensor:
        """Return codes (B, c, h, w) of unit variance, drawn from :meth:`moments`.

        Args:
            moments: Of images.
            generator: On the CPU.
        """
        parts = moments.split(self.config.network.latent, dim=1)
        if len(parts) == 1:
            return moments
        mean, log_variance = parts
        return drawn(mean, log_variance, torch.randn(mean.shape, generator=generator).to(moments.device))

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes without noise, (B, c, h, w), of unit variance; the arguments are of :meth:`moments`."""
        return self._read(images, whole=False)

    @torch.no_grad()
    def decode(self, codes: Tensor, seeds: Sequence[int] = ()) -> Tensor:
        """Return the images of codes: float32 (B, C, f h, f w) in [-1, 1], on the codes' device.

        Codes of the model's own shape become images of its own, which is cropped where f does not divide it.

        Args:
            codes: float32 (B, c, h, w), of any height and width.
            seeds: Not looked at: nothing is random.

        Raises:
            InputError: For codes of other channels.
        """
        latent, (_, height, width) = self.config.network.latent, self.config.samples.shape
        if codes.dim() != 4 or codes.shape[1] != latent:
            raise InputError(f"The codec's codes have {latent} channels, and these are {_shape(codes)}")
        model, found = self.lowered(), []
        with self.in_precision:
            for part in codes.split(self._at_once(codes.shape)):
                found.append(model._decoded(part))
        images = torch.cat(found) if len(found) > 1 else found[0]  # which may be large
        if tuple(codes.shape[1:]) == self.config.codes:
            images = images[..., :height, :width]
        return images.clamp_(-1, 1) if self.config.samples.bounded else images

    @property
    def codebook(self) -> int:
        """How many codes there are; 0 where there is no codebook."""
        return len(self.regularization.book) if isinstance(self.regularization, VQ) else 0

    @torch.no_grad()
    def tokens(self, codes: Tensor) -> Tensor:
        """Return the number in the codebook, int64 (B, h, w), of each place of codes (B, c, h, w).

        Raises:
            InputError: If there is no codebook.
        """
        if not self.codebook:
            raise InputError("This codec has no codebook: its codes are no numbers of one")
        found: Tensor = self.regularization.indices(codes.to(self.device))
        return found.to(codes.device)

    @torch.no_grad()
    def _read(self, images: Tensor, whole: bool) -> Tensor:
        """Return the mean of the images' codes, or the whole moments."""
        channels, factor = self.config.samples.shape[0], self.config.network.factor
        if images.dim() != 4 or images.shape[1] != channels:
            raise InputError(f"The codec's images have {channels} channels, and these are {_shape(images)}")
        model, found = self.lowered(), []
        padded = pad_to(images, factor)
        size = padded.shape[2] // factor, padded.shape[3] // factor
        with self.in_precision:
            for part in padded.split(self._at_once((1, 1, *size))):
                found.append(model._encoded(part, whole))
        return torch.cat(found)

    def _encoded(self, x: Tensor, whole: bool) -> Tensor:
        """Return the moments of padded images, tile by tile where they are large."""
        factor = self.config.network.factor

        def piece(tile: Tile) -> Tensor:
            part = x[(..., *_times(tile, factor))].to(self.device)
            mean, log_variance = self.regularization.moments(self.encoder(part))
            found = [self.standard(mean)]
            if whole and log_variance is not None:
                found.append(log_variance - 2 * self.standard.scale.log())
            return torch.cat(found, dim=1).to(x.device)

        return self._tiled(piece, (x.shape[2] // factor, x.shape[3] // factor), 1)

    def _decoded(self, codes: Tensor) -> Tensor:
        """Return the images of codes, tile by tile where they are large."""

        def piece(tile: Tile) -> Tensor:
            seen = self.regularization.seen(codes[(..., *tile)].to(self.device), self.standard)
            return self.decoder(seen).to(codes.device)

        return self._tiled(piece, codes.shape[2:], self.config.network.factor)

    def _tiled(self, piece: Callable[[Tile], Tensor], size: Sequence[int], factor: int) -> Tensor:
        """Return what ``piece`` makes of a map of codes of this size, ``factor`` times as large."""
        own = self.config.network.factor
        side = max(TILE, *self.config.samples.shape[1:])
        return in_tiles(piece, size, -(-side // own), max(1, OVERLAP // own), factor)

    def _at_once(self, codes: Sequence[int]) -> int:
        """Return how many images of codes of this shape are worked on together."""
        return max(1, AT_ONCE // (codes[-2] * codes[-1] * self.config.network.factor**2))


def drawn(mean: Tensor, log_variance: Tensor | None, eps: Tensor) -> Tensor:
    """Return codes, drawn from their moments with this noise unless they are certain."""
    return mean if log_variance is None else mean + (log_variance / 2).exp() * eps


def moved(images: Tensor, shift: Tensor) -> Tensor:
    """Return images (B, C, H, W) without their first or their last row and column, (B, C, H - 1, W - 1).

    Args:
        images: Where a side is of one pixel, it stays.
        shift: Whether it is the first row, and the first column, int64 (B, 2) of 0 and 1.
    """
    height, width = (max(1, side - 1) for side in images.shape[2:])
    cut = [one[:, -height:] if down else one[:, :height] for one, down in zip(images, shift[:, 0].tolist())]
    return torch.stack(
        [one[..., -width:] if right else one[..., :width] for one, right in zip(cut, shift[:, 1].tolist())]
    )


def balanced(
    made: Tensor, last: Tensor, error: Tensor, adversarial: Tensor, weight: float
) -> tuple[Tensor, Tensor]:
    """Return the sum of two losses, the second weighted so that both pull alike at the last layer; and lambda.

    The gradients of both with respect to the images are taken once, here; what is returned has their sum as its
    gradient, so that neither network is gone through backwards a second time. Lambda is of the whole batch, of
    which each process has a share.

    Args:
        made: Images (B, C, H, W), a function of ``last``.
        last: The weights of the layer that made them.
        error: (B,), a function of each image.
        adversarial: (B,), another.
        weight: Of the second beside lambda.
    """
    slopes = [torch.autograd.grad(LIFT * loss.mean(), made)[0] for loss in (error, adversarial)]
    pulls = [torch.autograd.grad(made, last, slope, retain_graph=True)[0].float().flatten() for slope in slopes]
    own = len(made) / LIFT
    sums = summed(own * torch.stack(pulls))
    first, second = (sums / summed(sums.new_tensor(len(made)))).norm(dim=1)
    ratio = (first / (second + 1e-6)).clamp(max=LARGEST_WEIGHT / made[0].numel())
    slope = own * (slopes[0] + weight * ratio * slopes[1])
    value = error.detach() + weight * ratio * adversarial.detach()
    pull = (slope * made).flatten(1).sum(1)
    return value + (pull - pull.detach()), ratio


def _times(tile: Tile, factor: int) -> Tile:
    rows, columns = (slice(factor * span.start, factor * span.stop) for span in tile)
    return rows, columns


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape[1:]))
