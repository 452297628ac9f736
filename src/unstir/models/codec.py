"""Codecs: between images and what a model draws. Pixel space is the identity's."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Codec(Protocol):
    """The verbs of a codec."""

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes of images (B, C, H, W) in [-1, 1]."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """Return the images of codes."""
        ...


class Identity:
    """Samples that stand for themselves.

    Args:
        bounded: Whether they lie in [-1, 1], to which ``decode`` clips.
    """

    def __init__(self, bounded: bool = True) -> None:
        self.bounded = bounded

    def encode(self, images: Tensor) -> Tensor:
        """Return the images."""
        return images

    def decode(self, codes: Tensor) -> Tensor:
        """Return the codes, kept within bounds."""
        return codes.clamp(-1, 1) if self.bounded else codes
