"""Decoded images in memory or memory-mapped, and their way to the network: p in 0..255 becomes p / 127.5 - 1."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from unstir.errors import InputError


@dataclass(frozen=True)
class ImageData:
    """Images of one shape with what is known of each.

    Attributes:
        pixels: uint8 (N, C, H, W), usually read-only and memory-mapped.
        labels: int64 (N,), each an index into ``classes``; None if unlabelled.
        classes: class names; () if unlabelled.
        captions: one per image, "" where an image has none; () if no image has one.
        fingerprint: hash of pixels and labels, whatever place they came from.
        name: what to call the set.
    """

    pixels: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]
    captions: tuple[str, ...]
    fingerprint: str
    name: str

    @classmethod
    def from_array(
        cls,
        pixels: np.ndarray,
        labels: np.ndarray | Sequence[object] | None = None,
        classes: Sequence[str] = (),
        name: str = "array",
    ) -> ImageData:
        """Images that are already decoded.

        Args:
            pixels: uint8 (N, C, H, W), any C, H and W, N at least 1.
            labels: one per image: indices into ``classes`` if these are given, otherwise any values that sort;
                their sorted values then name the classes.
            classes: class names.
            name: what to call the set.

        Raises:
            InputError: for pixels of another type or number of axes, or labels that do not fit.
        """
        pixels = np.asarray(pixels)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.size == 0:
            raise InputError(
                f"pixels must be uint8 of shape (N, C, H, W), not {pixels.dtype} of shape {pixels.shape}."
            )
        names, indices = tuple(classes), None
        if labels is not None:
            if len(labels) != len(pixels):
                raise InputError(f"there are {len(pixels)} images but {len(labels)} labels; give one for each.")
            indices, names = (np.asarray(labels), names) if names else label_indices(labels)
            if indices.dtype.kind not in "iu" or indices.min() < 0 or indices.max() >= len(names):
                raise InputError(f"labels must be integers in 0..{len(names) - 1}, one for each of the classes.")
            indices = indices.astype(np.int64)
        return cls(pixels, indices, names, (), fingerprint(pixels, indices), name)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """How many classes there are; 0 if unlabelled."""
        return len(self.classes)

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.pixels)

    def batch(
        self, indices: np.ndarray, flips: np.ndarray | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The images at ``indices``, ready for the network.

        Args:
            indices: int (B,), each in 0..N-1.
            flips: bool (B,); those images are mirrored left-right.

        Returns:
            float32 (B, C, H, W) in [-1, 1], and int64 labels (B,) or None.
        """
        picked = self.pixels[indices]
        if flips is not None and flips.any():
            picked[flips] = picked[flips][..., ::-1]
        # In numpy, on this one thread: torch would wake all of its threads for a millisecond's work, which on a
        # busy machine costs a hundred times as much.
        images = np.divide(picked, np.float32(127.5), dtype=np.float32)
        images -= 1
        labels = None if self.labels is None else torch.from_numpy(self.labels[indices])
        return torch.from_numpy(images), labels


@dataclass(frozen=True)
class Splits:
    """Training images, and disjoint held-out ones: the set's own test images, or a part that was held back."""

    train: ImageData
    held_out: ImageData


def label_indices(values: np.ndarray | Sequence[object]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number label values by their sorted order.

    Returns:
        int64 (N,), each an index into the class names; and these: the sorted values, as text.

    >>> label_indices([7, 3, 7])
    (array([1, 0, 1]), ('3', '7'))
    """
    names, indices = np.unique(np.asarray(values), return_inverse=True)
    return indices.reshape(-1).astype(np.int64), tuple(str(name) for name in names)


def fingerprint(pixels: np.ndarray, labels: np.ndarray | None) -> str:
    """Hash of shape, pixels and labels, 32 hexadecimal digits, read 64 MB at a time."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    for block in _blocks(pixels):
        digest.update(block.data)
    if labels is not None:
        digest.update(np.ascontiguousarray(labels, dtype=np.int64).data)
    return digest.hexdigest()


def _blocks(pixels: np.ndarray, size: int = 64 * 2**20) -> Iterator[np.ndarray]:
    step = max(1, size // max(1, pixels[0].size))
    for start in range(0, len(pixels), step):
        yield np.ascontiguousarray(pixels[start : start + step])
