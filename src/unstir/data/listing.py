"""What a source holds before anything is decoded: the common form of folders, tables and arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from unstir.data.columns import Column
from unstir.data.decode import Encoded
from unstir.data.sources import check_count

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
    """All that a source holds.

    Attributes:
        train: the images to train on, or all.
        held_out: its own test part, with the same columns; None if it has none.
        note: what was decided about it, in half a sentence or several; empty if nothing was.
    """

    train: Listing
    held_out: Listing | None
    note: str = ""


def hold_back(listing: Listing, source: str) -> tuple[Listing, Listing]:
    """Split off a twentieth, at least 1 and at most 10,000 images, chosen by a fixed seed; both keep their order.

    Of every class at least one image stays to train on. Where each has only one, the single image that is held out
    is trained on as well.

    Raises:
        InputError: for fewer than two images.
    """
    n = len(listing)
    check_count(source, n)
    count = max(1, min(10_000, n // 20))
    shuffled = np.random.Generator(np.random.PCG64(_HELD_BACK_SEED)).permutation(n)
    held = np.sort(_spared(listing, shuffled)[:count])
    if not len(held):
        return listing, listing.take(shuffled[:1])
    return listing.take(np.delete(np.arange(n), held)), listing.take(held)


def _spared(listing: Listing, shuffled: np.ndarray) -> np.ndarray:
    """The positions without the last of each class."""
    label = listing.columns.get("label")
    if label is None or label.kind != "classes":
        return shuffled
    classes = label.array[shuffled][::-1]
    last = len(classes) - 1 - np.unique(classes, return_index=True)[1]
    last = last[label.array[shuffled[last]] >= 0]  # a missing label is no class
    return np.delete(shuffled, last)
