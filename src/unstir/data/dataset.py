"""Decoded images in memory or memory-mapped, and their way to the network: p in 0..255 becomes p / 127.5 - 1.

What is handed over are examples ``(x, told)``: the images, and by name whatever else is known of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from unstir.data import augmentation
from unstir.data import degradations as ways
from unstir.data.columns import Column, blocks, class_column, column
from unstir.errors import InputError
from unstir.networks.told import AUGMENTATION

__all__ = ["Column", "ImageData", "Splits", "fingerprint"]


@dataclass(frozen=True)
class ImageData:
    """Images of one shape with what is known of each.

    Attributes:
        pixels: uint8 (N, C, H, W), usually read-only and memory-mapped.
        columns: by name what is known of every image. The classes that images are labelled with are called
            ``label``, their captions ``caption``, "" where an image has none.
        fingerprint: hash of pixels and columns, whatever place they came from.
        name: what to call the set.
        degradations: the ways in which examples are told degraded, made on the fly; () for none.
        augment: how probably each change is made to an image, of which is told; None for images as they are, of
            which nothing of the kind is told.
    """

    pixels: np.ndarray
    columns: Mapping[str, Column]
    fingerprint: str
    name: str
    degradations: tuple[str, ...] = ()
    augment: float | None = None

    @classmethod
    def from_array(
        cls,
        pixels: np.ndarray,
        labels: np.ndarray | Sequence[object] | None = None,
        classes: Sequence[str] = (),
        name: str = "array",
        columns: Mapping[str, object] | None = None,
    ) -> ImageData:
        """Images that are already decoded.

        Args:
            pixels: uint8 (N, C, H, W), any C, H and W, N at least 1.
            labels: one per image: indices into ``classes`` if these are given, otherwise any values that sort;
                their sorted values then name the classes. They become the column ``label``.
            classes: class names.
            name: what to call the set.
            columns: what else is known, by name: a :class:`Column`, or an array or a list whose kind follows from
                its type, see :func:`unstir.data.columns.column`.

        Raises:
            InputError: for pixels of another type or number of axes, or labels or columns that do not fit.
        """
        pixels = np.asarray(pixels)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.size == 0:
            raise InputError(
                f"pixels must be uint8 of shape (N, C, H, W), not {pixels.dtype} of shape {pixels.shape}."
            )
        known: dict[str, Column] = {}
        if labels is not None:
            if len(labels) != len(pixels):
                raise InputError(f"there are {len(pixels)} images but {len(labels)} labels; give one for each.")
            if columns and "label" in columns:
                raise InputError("the column 'label' is given beside labels; give one of the two.")
            known["label"] = class_column("label", labels, classes)
        known |= {key: column(key, given, len(pixels)) for key, given in (columns or {}).items()}
        return cls(pixels, known, fingerprint(pixels, known), name)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    @property
    def labels(self) -> np.ndarray | None:
        """The values of the column ``label``: int64 (N,), each an index into ``classes``; None if unlabelled."""
        label = self._label
        return None if label is None else label.array

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names of the column ``label``; () if unlabelled."""
        label = self._label
        return () if label is None else label.classes

    @property
    def num_classes(self) -> int:
        """How many classes there are; 0 if unlabelled."""
        return len(self.classes)

    @property
    def _label(self) -> Column | None:
        label = self.columns.get("label")
        return label if label is not None and label.kind == "classes" else None

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.pixels)

    def facts(self) -> dict[str, dict[str, object]]:
        """What a network must know of each column to be told it, by name: see :meth:`Column.facts`."""
        facts = {name: known.facts() for name, known in self.columns.items()}
        if self.degradations:
            facts[ways.DEGRADED] = {"kind": "picture", "width": self.shape[0] + 1}
            facts[ways.TASK] = {"kind": "classes", "classes": self.degradations}
        if self.augment is not None:
            facts[AUGMENTATION] = {"kind": "numbers", "width": augmentation.WIDTH}
        return facts

    def examples(
        self,
        indices: np.ndarray | Sequence[int],
        flips: np.ndarray | None = None,
        names: Container[str] | None = None,
        passes: np.ndarray | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor | list[str]]]:
        """The images at ``indices`` and what is known of them, ready for the network.

        Args:
            indices: int (B,), each in 0..N-1.
            flips: bool (B,); those images are mirrored left-right, and with each its pictures.
            names: of the columns that are wanted; None for all.
            passes: int (B,), in which pass over the set each image is met, on which depends how it is degraded and
                altered; None for no training: it is degraded as in pass 0, and not altered.

        Returns:
            The images, float32 (B, C, H, W) in [-1, 1]; and by name the columns: classes int64 (B,), numbers
            float32 (B, K), embeddings float32 (B, D) or (B, L, D), pictures float32 (B, C', H', W') in [-1, 1],
            text a list of B. Where there are degradations, also ``degraded``, float32 (B, C + 1, H, W), whose
            last channel is 1 at hidden pixels and else 0, and ``task``, int64 (B,). Where images are altered,
            also ``augmentation``, float32 (B, K), NaN for one that is not: it is only where that is wanted.
        """
        told = self.told(indices, flips, names, passes)
        images = _images(self.pixels, np.asarray(indices), flips)
        if self.augment is not None and (names is None or AUGMENTATION in names):
            how = torch.from_numpy(augmentation.drawn(np.asarray(indices), passes, self.augment))
            images, told[AUGMENTATION] = augmentation.altered(images, how), how
        return images, told

    def told(
        self,
        indices: np.ndarray | Sequence[int],
        flips: np.ndarray | None = None,
        names: Container[str] | None = None,
        passes: np.ndarray | None = None,
    ) -> dict[str, torch.Tensor | list[str]]:
        """What :meth:`examples` says of images that are not altered, without these."""
        indices = np.asarray(indices)
        told: dict[str, torch.Tensor | list[str]] = {}
        for name, known in self.columns.items():
            if names is not None and name not in names:
                continue
            if not isinstance(known.values, np.ndarray):
                told[name] = [known.values[i] for i in indices.tolist()]
            elif known.kind == "picture":
                told[name] = _images(known.values, indices, flips)
            else:
                told[name] = torch.from_numpy(known.values[indices])
        if self.degradations and (names is None or ways.DEGRADED in names or ways.TASK in names):
            picked = _picked(self.pixels, indices, flips)
            met = np.zeros(len(indices), dtype=np.int64) if passes is None else passes
            degraded, task = ways.degraded(picked, indices, met, self.degradations)
            told |= {ways.DEGRADED: torch.from_numpy(degraded), ways.TASK: torch.from_numpy(task)}
        return told


@dataclass(frozen=True)
class Splits:
    """Training images, and held-out ones: the set's own test images, or a part that was held back.

    Attributes:
        train: what to train on.
        held_out: disjoint from these, unless every class has a single image.
        note: what was decided about the source, in half a sentence or several; empty if nothing was.
    """

    train: ImageData
    held_out: ImageData
    note: str = ""

    def degraded(self, degradations: tuple[str, ...]) -> Splits:
        """The same images, told degraded in these ways.

        Raises:
            InputError: if they cannot be.
        """
        ways.check(degradations, self.train.shape[0], self.train.columns)
        train, held_out = (replace(part, degradations=degradations) for part in (self.train, self.held_out))
        return replace(self, train=train, held_out=held_out)

    def augmented(self, p: float) -> Splits:
        """The same images, training ones altered, of which is told; those that are held out as they are.

        Raises:
            InputError: if they cannot be.
        """
        if not p:
            return self
        augmentation.check(p, self.train.columns, self.train.degradations)
        return replace(self, train=replace(self.train, augment=p), held_out=replace(self.held_out, augment=0.0))


def fingerprint(pixels: np.ndarray, columns: Mapping[str, Column]) -> str:
    """Hash of shape and pixels, and of the columns' names, kinds and values: 32 hexadecimal digits."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    for block in blocks(pixels):
        digest.update(block.data)
    for name in sorted(columns):
        digest.update(repr(name).encode())
        for part in columns[name].content():
            digest.update(part)
    return digest.hexdigest()


def _picked(pixels: np.ndarray, indices: np.ndarray, flips: np.ndarray | None) -> np.ndarray:
    """Pixels (N, C, H, W) at ``indices``, some mirrored, (B, C, H, W)."""
    picked = pixels[indices]
    if flips is not None and flips.any():
        picked[flips] = picked[flips][..., ::-1]
    return picked


def _images(pixels: np.ndarray, indices: np.ndarray, flips: np.ndarray | None) -> torch.Tensor:
    """Pixels (N, C, H, W) at ``indices``, some mirrored, as float32 (B, C, H, W) in [-1, 1]."""
    picked = _picked(pixels, indices, flips)
    # In numpy, on this one thread: torch would wake all of its threads for a millisecond's work, which on a
    # busy machine costs a hundred times as much.
    images = np.divide(picked, np.float32(127.5), dtype=np.float32)
    images -= 1
    return torch.from_numpy(images)
