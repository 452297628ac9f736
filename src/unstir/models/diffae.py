r"""The diffusion autoencoder (Preechakul et al. 2022): what an image means, and all else that is in it.

A semantic encoder reads z_sem in the clean image, L numbers, which tell a denoiser of the same image through an
adaptive group norm in every block. Both are trained by the denoiser's own objective,

.. math:: L = E_{t, \epsilon} \left\| \epsilon - \epsilon_\theta(x_t, t, \mathrm{Enc}(x_0)) \right\|^2,

or as the configuration says it: what helps most to tell the noise from the image is what the encoder keeps. The
denoiser under z_sem is the decoder, by DDIM with eta 0. Run backwards over the same grid it is the stochastic
encoder: it finds x_T, in which lies what z_sem leaves open, and from both codes the image comes back.

Codes leave in unit variance (:mod:`unstir.networks.standard`), samples of shape (L, 1, 1) for a second stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unstir.diffusion import Condition
from unstir.errors import InputError
from unstir.models.denoiser import DenoiserModel
from unstir.models.model import Batch, Model, check_shape
from unstir.networks.standard import Standard
from unstir.progress import tracked
from unstir.sampling.draw import Course, Start, walk, walk_back

if TYPE_CHECKING:
    from unstir.models.diffae_config import DiffusionAutoencoderConfig

AT_ONCE = 64


class DiffusionAutoencoder(DenoiserModel):
    """A denoiser that is told what an encoder, trained with it, reads in the clean image.

    Attributes:
        encoder: From images (B, C, H, W) to z_sem (B, L).
        standard: How z_sem lies over training.
    """

    config: DiffusionAutoencoderConfig

    def __init__(self, config: DiffusionAutoencoderConfig, parts: Mapping[str, Model]) -> None:
        super().__init__(config, parts)
        self.encoder = config.encoder.build(config.samples.shape)  # type: ignore[arg-type]
        self.standard = Standard(config.latent)

    def losses(self, turn: str, batch: Batch, average: Model) -> dict[str, Tensor]:
        """Return the objective of the denoiser that is told z_sem of each image."""
        z = self.encoder(batch["x0"]).float()
        if self.training:
            self.standard.observe(z[:, :, None, None])
        return super().losses(turn, Batch(batch, condition=Condition.of({"z_sem": z})), average)

    def moments(self, images: Tensor) -> Tensor:
        """Return what a second stage keeps of images: their codes."""
        return self.encode(images)

    def codes(self, moments: Tensor, generator: torch.Generator) -> Tensor:
        """Return the codes, in which nothing is random."""
        return moments

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return the codes of images: z_sem in unit variance, float32 (n, L, 1, 1), on the images' device.

        Args:
            images: float32 (n, C, H, W) in [-1, 1].

        Raises:
            InputError: For images of another shape.
        """
        check_shape(self, images)
        model, codes = self.lowered(), [images.new_zeros(0, *self.config.codes)]
        with self.in_precision:
            for first in range(0, len(images), AT_ONCE):
                z = model.encoder(images[first : first + AT_ONCE].to(self.device)).float()
                codes.append(self.standard(z[:, :, None, None]).to(images.device))
        return torch.cat(codes)

    @torch.no_grad()
    def invert(  # type: ignore[override]
        self,
        images: Tensor,
        *,
        codes: Tensor | None = None,
        batch: int = AT_ONCE,
        progress: bool = False,
        **options: object,
    ) -> Tensor:
        """Return x_T of images, the noise from which ``decode`` draws about them: DDIM backwards.

        Args:
            images: float32 (n, C, H, W) in [-1, 1].
            codes: Those that are told on the way, (n, L, 1, 1); None for the images' own.
            batch: How many are inverted together.
            progress: Whether to show a progress bar, if standard error is a terminal.
            **options: ``steps``, ``spacing``, ``clip`` and ``schedule``, as in ``decode``.

        Returns:
            float32 (n, C, H, W), on the images' device.

        Raises:
            InputError: For images or codes of another shape, or a value out of range.
        """
        settings = self.inverting(options)
        check_shape(self, images)
        codes = self.encode(images) if codes is None else codes
        self._check_codes(codes, len(images))
        model, noised = self.lowered(), []
        starts = range(0, len(images), batch)
        with self.in_precision:
            for first in tracked(starts, len(starts), "inverting", progress):
                rows = slice(first, first + batch)
                x = images[rows].to(self.device)
                noised.append(walk_back(model.denoiser, x, self.telling(codes[rows]), settings).to(images.device))
        return torch.cat(noised)

    @torch.no_grad()
    def decode(
        self,
        codes: Tensor,
        seeds: Sequence[int] | None = None,
        *,
        noise: Tensor | None = None,
        batch: int = AT_ONCE,
        progress: bool = False,
        **options: object,
    ) -> Tensor:
        """Return the images of codes, drawn from x_T: float32 (n, C, H, W) in [-1, 1], on the codes' device.

        ``decode(encode(images), noise=invert(images))`` brings images back, the nearer the more steps there are.

        Args:
            codes: float32 (n, L, 1, 1).
            seeds: One for each image, from which all noise comes; None for 0, 1, ...
            noise: x_T, float32 (n, C, H, W); None draws it from the seeds.
            batch: How many are drawn together.
            progress: Whether to show a progress bar, if standard error is a terminal.
            **options: As of drawing with a denoiser, such as ``steps``.

        Raises:
            InputError: For codes or noise of another shape, a seed or a row of noise too few, or a value out of
                range.
        """
        settings = self.config.drawing(options)
        seeds = range(len(codes)) if seeds is None else seeds
        self._check_codes(codes, len(seeds))
        if noise is not None:
            check_shape(self, noise)
            self._check_codes(codes, len(noise))
        shape, model = self.config.samples.shape, self.lowered()
        images = [codes.new_zeros(0, *shape)]
        starts = range(0, len(codes), batch)
        with self.in_precision:
            for first in tracked(starts, len(starts), "decoding", progress):
                rows = slice(first, first + batch)
                course = Course() if noise is None else Course(_at(noise[rows].to(self.device)))
                condition = self.telling(codes[rows])
                # The codes may have been drawn from the first stream of the same seeds.
                for step in walk(model.denoiser, shape, seeds[rows], condition, settings, course, stream=1):
                    last = step.x
                images.append(last.to(codes.device))
        return torch.cat(images).clamp(-1, 1)

    def telling(self, codes: Tensor) -> Condition:
        """Return what tells the denoiser codes (n, L, 1, 1), on the model's device."""
        return Condition.of({"z_sem": self.standard.undone(codes.to(self.device)).flatten(1)})

    def _check_codes(self, codes: Tensor, count: int) -> None:
        """Check that codes are this model's, and as many as what comes with them.

        Raises:
            InputError: If not.
        """
        if tuple(codes.shape) != (count, *self.config.codes):
            ours, theirs = ("x".join(map(str, shape)) for shape in ((count, *self.config.codes), codes.shape))
            raise InputError(f"The model's codes are here {ours}, one for each image, and these are {theirs}")


def between(a: Tensor, b: Tensor, shares: Tensor) -> Tensor:
    r"""Return noise from ``a`` to ``b`` along the arc between them (Shoemake 1985): (N, ...).

    .. math:: \frac{\sin((1 - s) \theta)}{\sin\theta} a + \frac{\sin(s \theta)}{\sin\theta} b,

    where theta is the angle between the two. Halfway between two draws of noise their mean would be too quiet to
    be one; on the arc the length changes no more than from one end to the other.

    Args:
        a: (...).
        b: Of the same shape. Where both point the same way, or to opposite ones, the way is straight.
        shares: s, (N,): 0 is ``a``, 1 is ``b``.
    """
    x, y = a.flatten().double(), b.flatten().double()
    s = shares.double()[:, None]
    theta = torch.acos((x @ y / (x.norm() * y.norm())).clamp(-1, 1))
    if theta.sin() < 1e-6:
        way = (1 - s) * x + s * y
    else:
        way = (((1 - s) * theta).sin() * x + (s * theta).sin() * y) / theta.sin()
    return way.reshape(len(shares), *a.shape).to(a.dtype)


def _at(x: Tensor) -> Start:
    return lambda *_: x
