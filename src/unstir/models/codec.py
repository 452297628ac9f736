"""Codecs: between images and what a model draws. Pixel space is the identity's.

A denoiser of codes (latent diffusion, Rombach et al. 2022) has a codec as its frozen part. Any model with these
verbs is one: an autoencoder, or a diffusion autoencoder, whose decoder draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Codec(Protocol):
    """The verbs of a codec. Codes are float32, about of mean 0 and variance 1 in each channel."""

    def moments(self, images: Tensor) -> Tensor:
        """Return what training keeps of images (B, C, H, W) in [-1, 1], float32 (B, ...), computed once."""
        ...

    def codes(self, moments: Tensor, generator: torch.Generator) -> Tensor:
        """Return codes (B, c, h, w) drawn from moments; what is random comes from the generator, on the CPU."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes of images without noise, on the images' device."""
        ...

    def decode(self, codes: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return the images of codes, on the codes' device; what is random comes from one seed for each."""
        ...


class Identity:
    """Samples that stand for themselves.

    Args:
        bounded: Whether they lie in [-1, 1], to which ``decode`` clips.
    """

    def __init__(self, bounded: bool = True) -> None:
        self.bounded = bounded

    def moments(self, images: Tensor) -> Tensor:
        """Return the images."""
        return images

    def codes(self, moments: Tensor, generator: torch.Generator) -> Tensor:
        """Return the moments, which are the images."""
        return moments

    def encode(self, images: Tensor) -> Tensor:
        """Return the images."""
        return images

    def decode(self, codes: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return the codes, kept within bounds."""
        return codes.clamp(-1, 1) if self.bounded else codes
