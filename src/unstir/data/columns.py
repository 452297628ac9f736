"""What is known of each image beside its pixels: columns of classes, numbers, text, embeddings or pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unstir.errors import InputError, printable

Kind = Literal["classes", "numbers", "text", "embedding", "picture"]

WORDS = 100
"""Different words up to which a column of strings is one of classes."""


@dataclass(frozen=True)
class Column:
    """One value for each of N images.

    Attributes:
        kind: what the values are.
        values: classes: int64 (N,), each an index into ``classes``; numbers: float32 (N, K); text: a tuple of N;
            embedding: float32 (N, D), or (N, L, D) for L tokens; picture: uint8 (N, C, H, W), which, as an
            embedding, may be memory-mapped. Until a set is split into its parts a value may be missing: class -1,
            or a number or an embedding that is not finite.
        classes: class names; () for other kinds. In these and in text, what is no Unicode, as in a folder's name
            that is no UTF-8, is escaped.
    """

    kind: Kind
    values: np.ndarray | tuple[str, ...]
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", _storable(self.classes))
        if self.kind == "text" and isinstance(self.values, tuple):
            object.__setattr__(self, "values", _storable(self.values))

    def __len__(self) -> int:
        """How many values there are."""
        return len(self.values)

    @property
    def array(self) -> np.ndarray:
        """The values of any kind but text."""
        assert isinstance(self.values, np.ndarray)
        return self.values

    def take(self, positions: np.ndarray | slice) -> Column:
        """The values at ``positions``, int (M,), in that order, or of a slice."""
        if isinstance(self.values, np.ndarray) or isinstance(positions, slice):
            return Column(self.kind, self.values[positions], self.classes)
        return Column(self.kind, tuple(self.values[p] for p in positions.tolist()))

    def missing(self) -> int:
        """How many images have no value; a missing text is "", and counts as one."""
        if self.kind == "classes":
            return int((self.array < 0).sum())
        if self.kind in ("numbers", "embedding"):
            rows = (block.reshape(len(block), -1) for block in blocks(self.array))
            return sum(int((~np.isfinite(row).all(1)).sum()) for row in rows)
        return 0

    def facts(self) -> dict[str, object]:
        """What a network must know to be told these values, as plain values.

        Returns:
            ``kind``, and of classes their names, ``classes``; of numbers how many there are, ``width``, and the
            ``mean`` and the standard deviation ``std`` of each, 1 for one that is the same for all images; of
            embeddings their ``width``, and of sequences of them the ``length``; of pictures their channels,
            ``width``.
        """
        if self.kind == "text":
            return {"kind": "text"}
        if self.kind == "classes":
            return {"kind": "classes", "classes": self.classes}
        width = self.array.shape[1 if self.kind == "picture" else -1]
        facts: dict[str, object] = {"kind": self.kind, "width": width}
        if self.kind == "embedding" and self.array.ndim == 3:
            facts["length"] = self.array.shape[1]
        if self.kind == "numbers":
            mean, std = self.array.mean(0, dtype=np.float64), self.array.std(0, dtype=np.float64)
            # Of equal numbers the mean may be off by a rounding, which is not worth standardizing.
            std[self.array.min(0) == self.array.max(0)] = 1
            facts |= {"mean": tuple(mean.tolist()), "std": tuple(std.tolist())}
        return facts

    def content(self) -> Iterator[bytes | memoryview]:
        """Kind, shape, class names and values, for hashing, 64 MB at a time."""
        shape = self.values.shape if isinstance(self.values, np.ndarray) else (len(self.values),)
        yield json.dumps([self.kind, shape, self.classes]).encode()
        if isinstance(self.values, np.ndarray):
            yield from (block.data for block in blocks(self.values))
        else:
            yield from (json.dumps(text).encode() for text in self.values)


def _storable(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return tuple(map(printable, texts))
    return texts


def column(name: str, given: object, count: int) -> Column:
    """Make a column of what a caller gives: values checked, and brought to the types of :class:`Column`.

    Args:
        name: what it is called, for messages.
        given: a :class:`Column`, whose values may be a list or an array of any fitting type; or values alone, of
            which the kind follows: strings are text; uint8 of four axes pictures; floats, integers and truth
            values of one or two axes numbers; floats of three axes embeddings.
        count: how many images there are.

    Raises:
        InputError: for values that fit no kind or not the one they are given as, or of another number.
    """
    values = given.values if isinstance(given, Column) else given
    kind = given.kind if isinstance(given, Column) else None
    if isinstance(values, (list, tuple)) and kind in (None, "text") and all(isinstance(v, str) for v in values):
        # As they are: an array would take for each as much memory as the longest.
        _check_count(name, len(values), count)
        return Column("text", tuple(values))
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"'{name}' must be an array, or lists that make one ({error}).") from error
    kind = kind or kind_of(array)
    if kind is None:
        raise InputError(
            f"'{name}' must hold numbers, strings or uint8 pictures (N, C, H, W), not {array.dtype} of shape "
            f"{array.shape}."
        )
    _check_count(name, len(array) if array.ndim else 0, count)
    if kind == "classes":
        return class_column(name, array, given.classes if isinstance(given, Column) else ())
    if kind == "text":
        if array.dtype.kind not in "UT" or array.ndim != 1:
            raise InputError(f"'{name}' must hold one string for each image, not {array.dtype} {array.shape}.")
        return Column(kind, tuple(array.tolist()))
    if kind == "picture":
        if array.dtype != np.uint8 or array.ndim != 4 or array.size == 0:
            raise InputError(
                f"the pictures '{name}' must be uint8 of shape (N, C, H, W), not {array.dtype} of shape "
                f"{array.shape}."
            )
        return Column(kind, array)
    axes = (1, 2) if kind == "numbers" else (2, 3)
    if array.dtype.kind not in "fiub" or array.ndim not in axes or array.size == 0:
        raise InputError(
            f"'{name}' must hold {kind} of {axes[0]} or {axes[1]} axes, the first for the images, not "
            f"{array.dtype} of shape {array.shape}."
        )
    made = Column(kind, floats(array))
    if made.missing():
        raise InputError(f"'{name}' must be finite, and is not for {made.missing()} of {count} images.")
    return made


def class_column(name: str, values: np.ndarray | Sequence[object], classes: Sequence[str] = ()) -> Column:
    """A column of classes.

    Args:
        name: what it is called, for messages.
        values: (N,), indices into ``classes`` if these are given, otherwise any values that sort; their sorted
            values then name the classes.
        classes: class names.

    Raises:
        InputError: for an index beyond the classes.
    """
    indices, names = (np.asarray(values), tuple(classes)) if len(classes) else numbered(values)
    if indices.dtype.kind not in "iu" or indices.ndim != 1 or indices.min() < 0 or indices.max() >= len(names):
        whose = "labels" if name == "label" else f"the classes '{name}'"
        raise InputError(f"{whose} must be integers in 0..{len(names) - 1}, one for each of the classes.")
    return Column("classes", indices.astype(np.int64), names)


def _check_count(name: str, given: int, count: int) -> None:
    if given != count:
        raise InputError(f"there are {count} images but {given} values of '{name}'; give one for each.")


def kind_of(array: np.ndarray) -> Kind | None:
    """The kind of a column of these values, as :func:`column` deduces it; None if there is none."""
    if array.size == 0:
        return None
    if array.dtype.kind in "UT":
        return "text" if array.ndim == 1 else None
    if array.dtype == np.uint8 and array.ndim == 4:
        return "picture"
    if array.dtype.kind in "fiub" and array.ndim in (1, 2):
        return "numbers"
    return "embedding" if array.dtype.kind == "f" and array.ndim == 3 else None


def floats(array: np.ndarray) -> np.ndarray:
    """Numbers or embeddings as float32 of at least two axes; what float32 cannot hold becomes infinite."""
    with np.errstate(over="ignore"):
        values = np.asarray(array, dtype=np.float32)
    return values[:, None] if values.ndim == 1 else values


def numbered(values: np.ndarray | Sequence[object]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number label values by their sorted order.

    Returns:
        int64 (N,), each an index into the class names; and these: the sorted values, as text.

    >>> numbered([7, 3, 7])
    (array([1, 0, 1]), ('3', '7'))
    """
    names, indices = np.unique(np.asarray(values), return_inverse=True)
    return indices.reshape(-1).astype(np.int64), tuple(str(name) for name in names)


def blocks(array: np.ndarray, size: int = 64 * 2**20) -> Iterator[np.ndarray]:
    """An array in contiguous pieces along its first axis, of about ``size`` bytes."""
    step = max(1, size // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        yield np.ascontiguousarray(array[start : start + step])
