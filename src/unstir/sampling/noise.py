"""Noise from seeds: each image has its own, so that it comes out the same whatever the batch it is drawn in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class SeededNoise:
    """A source of noise with one stream of random numbers for each image.

    Args:
        seeds: The seed of each image in the batch, shape (B,).
        stream: Which of the streams of a seed, at least 0: for noise that is drawn beside the walk's own.
    """

    def __init__(self, seeds: Sequence[int], stream: int = 0) -> None:
        self._generators = [_generator(seed, stream) for seed in seeds]

    def __call__(self, like: Tensor) -> Tensor:
        """Return the next standard normal noise, of the shape, type and device of ``like`` (B, ...)."""
        shape = like.shape[1:]
        rows = [torch.randn(shape, generator=generator) for generator in self._generators]
        return torch.stack(rows).to(like)


def _generator(seed: int, stream: int) -> torch.Generator:
    """Return a stream of a seed: the first is the seed's own, the seeds of the others come from it."""
    generator = torch.Generator().manual_seed(seed)
    if stream == 0:
        return generator
    seeds = torch.randint(2**32, (stream,), generator=generator)  # all that a generator looks at
    return torch.Generator().manual_seed(int(seeds[-1]))
