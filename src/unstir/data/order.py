"""The order in which training meets its images: an endless stream of epochs.

Epoch e of n images is a permutation of 0..n-1 drawn from a generator seeded with (seed, e), and position p of
the stream is entry p mod n of epoch p div n. What lies at a position therefore depends on nothing that happened
before, so a run resumes, or is shared among processes, by its position alone.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def order(n: int, seed: int, start: int, count: int) -> np.ndarray:
    """Indices of the images at positions ``start .. start + count - 1`` of the stream.

    Args:
        n: number of images, at least 1.
        seed: of the stream, at least 0.
        start: first position, at least 0.
        count: how many positions; may reach over any number of epochs.

    Returns:
        int64 (count,), each in 0..n-1; every epoch's n positions hold every image once.

    Raises:
        ValueError: for a number out of its range.
    """
    if n < 1 or seed < 0 or start < 0 or count < 0:
        raise ValueError(f"order needs n >= 1 and the rest >= 0, not {n=}, {seed=}, {start=}, {count=}")
    indices = np.empty(count, dtype=np.int64)
    filled = 0
    while filled < count:
        epoch, offset = divmod(start + filled, n)
        part = _permutation(n, seed, epoch)[offset : offset + count - filled]
        indices[filled : filled + len(part)] = part
        filled += len(part)
    return indices


def passes(n: int, start: int, count: int) -> np.ndarray:
    """The epoch, int64 (count,), of each of the positions ``start .. start + count - 1`` of the stream."""
    return np.arange(start, start + count) // n


@lru_cache(maxsize=4)
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    permutation = generator.permutation(n)
    permutation.flags.writeable = False
    return permutation
