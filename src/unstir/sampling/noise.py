"""Noise from seeds: each image has its own, so that it comes out the same whatever the batch it is drawn in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class SeededNoise:
    """A source of noise with one stream of random numbers for each image.

    Args:
        seeds: The seed of each image in the batch, shape (B,).
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, like: Tensor) -> Tensor:
        """Return the next standard normal noise, of the shape, type and device of ``like`` (B, ...)."""
        shape = like.shape[1:]
        rows = [torch.randn(shape, generator=generator) for generator in self._generators]
        return torch.stack(rows).to(like)
