"""What a source holds before anything is decoded: the common form of folders, tables and arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from unstir.data.columns import Column
from unstir.data.decode import Encoded
from unstir.errors import InputError

Read = Callable[[np.ndarray], list[Encoded]]

_HELD_BACK_SEED = 0


@dataclass(frozen=True)
class Listing:
    """Encoded images in a fixed order.

    Attributes:
        indices: int (N,), what ``read`` and ``name`` are asked for, one per image.
        read: the encoded images at some of these indices; called from several threads.
        name: what to call the image at an index in a message.
        columns: by name what is known of each image, N values, some of which may be missing.
        pictures: by name further pictures of each image, still encoded: as ``read`` for the images themselves.
    """

    indices: np.ndarray
    read: Read
    name: Callable[[int], str]
    columns: Mapping[str, Column] = field(default_factory=dict)
    pictures: Mapping[str, Read] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.indices)

    def take(self, positions: np.ndarray) -> Listing:
        """The images at ``positions``, int (M,), in that order."""
        return replace(
            self,
            indices=self.indices[positions],
            columns={name: column.take(positions) for name, column in self.columns.items()},
        )


@dataclass(frozen=True)
class Contents:
    """All that a source holds. ``held_out`` is its own test part, with the same columns; None if it has none."""

    train: Listing
    held_out: Listing | None


def hold_back(listing: Listing, source: str) -> tuple[Listing, Listing]:
    """Split off a twentieth, at least 1 and at most 10,000 images, chosen by a fixed seed; both keep their order.

    Raises:
        InputError: for fewer than two images.
    """
    n = len(listing)
    if n < 2:
        raise InputError(
            f"'{source}' holds {n} image{'' if n == 1 else 's'}; at least 2 are needed, "
            "one to train on and one to hold back."
        )
    count = max(1, min(10_000, n // 20))
    shuffled = np.random.Generator(np.random.PCG64(_HELD_BACK_SEED)).permutation(n)
    return listing.take(np.sort(shuffled[count:])), listing.take(np.sort(shuffled[:count]))
