"""Decoded images on disk: an entry is a folder that appears whole or not at all.

``pixels`` holds uint8 (N, C, H, W), raw; ``column-0`` and so on what is known of each image, raw; ``entry.json``
text and all else. An entry is written under a temporary name and renamed, so a job killed half way leaves no half
entry, and of two jobs that write the same one the first wins and both go on with it.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import NonNegativeInt, TypeAdapter

from unstir.data.columns import Column, Kind
from unstir.errors import InputError
from unstir.files import scratch

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)

_MAPPED: tuple[Kind, ...] = ("picture", "embedding")
_AXES = {"classes": (0,), "numbers": (1,), "text": (0,), "embedding": (1, 2), "picture": (3,)}  # of one value
_TYPES = {"classes": np.int64, "numbers": np.float32, "embedding": np.float32, "picture": np.uint8}


@dataclass(frozen=True)
class ColumnDescription:
    """A column without its values, unless they are text.

    Attributes:
        name: what it is called.
        kind: what its values are.
        shape: of one value, () for classes and text.
        classes: class names.
        texts: the N values of text.
        complete: whether no value is missing, of the training and of the held-out images.
    """

    name: str
    kind: Kind
    shape: tuple[NonNegativeInt, ...] = ()
    classes: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    complete: tuple[bool, bool] = (True, True)


@dataclass(frozen=True)
class Description:
    """An entry without its pixels and arrays; stored as JSON.

    Attributes:
        shape: (N, C, H, W), training images first, held-out ones last.
        train: how many of the N are for training.
        columns: what is known of each image, in the order of their files.
        skipped: (name, reason) of each image that could not be read.
        listed: how many images the source held, these included, and none counted twice.
        fingerprints: of the training and of the held-out images.
        note: what was decided about the source, see `unstir.data.dataset.Splits`.
    """

    shape: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt]
    train: int
    columns: tuple[ColumnDescription, ...]
    skipped: tuple[tuple[str, str], ...]
    listed: NonNegativeInt = 0
    fingerprints: tuple[str, str] = ("", "")
    note: str = ""


_described = TypeAdapter(Description)


@dataclass(frozen=True)
class Entry:
    """An entry that is whole: its pixels, pictures and embeddings memory-mapped, other columns in memory."""

    pixels: np.ndarray
    columns: tuple[Column, ...]
    description: Description

    def part(self, number: int) -> tuple[np.ndarray, dict[str, Column]]:
        """The pixels of the training (0) or of the held-out (1) images, and those columns that lack no value."""
        train = self.description.train
        where = slice(train, None) if number else slice(0, train)
        described = zip(self.description.columns, self.columns)
        return self.pixels[where], {d.name: column.take(where) for d, column in described if d.complete[number]}


def read(folder: Path) -> Entry | None:
    """The entry in a folder; None if there is none or it is damaged.

    Damaged is one whose description is of another form, or whose files are of other sizes than it says. A changed
    byte within pixels or columns is not noticed: their fingerprints are taken once, when the entry is made.
    """
    try:
        return entry(folder, _described.validate_json((folder / "entry.json").read_bytes()))
    except (OSError, ValueError):  # absent, cut short, or of another version
        return None


def entry(folder: Path, description: Description) -> Entry:
    """An entry's pixels and columns as they lie in a folder.

    Raises:
        ValueError: if they are not as many as the description says.
        OSError: if they are not there.
    """
    if not 0 < description.train < description.shape[0]:
        raise ValueError(f"{description.train} of {description.shape[0]} images to train on")
    pixels = np.asarray(np.memmap(folder / "pixels", dtype=np.uint8, mode="r")).reshape(description.shape)
    columns = []
    for position, known in enumerate(description.columns):
        if len(known.shape) not in _AXES[known.kind]:
            raise ValueError(f"values of '{known.name}' of shape {known.shape}")
        values: np.ndarray | tuple[str, ...] = known.texts
        if known.kind != "text":
            mapped = np.memmap(place(folder, position), _TYPES[known.kind], "r")
            raw = np.asarray(mapped) if known.kind in _MAPPED else np.array(mapped)
            values = raw.reshape(len(pixels), *known.shape)
        columns.append(Column(known.kind, values, known.classes))
        if known.kind == "classes" and columns[-1].array.max() >= len(known.classes):
            raise ValueError(f"values of '{known.name}' beyond its {len(known.classes)} classes")
        if len(values) != len(pixels):
            raise ValueError(f"{len(values)} values of '{known.name}' for {len(pixels)} images")
    return Entry(pixels, tuple(columns), description)


def place(folder: Path, position: int) -> Path:
    """The file with the values of the column at ``position``; text has none."""
    return folder / f"column-{position}"


def describe(folder: Path, description: Description) -> None:
    """Store the description: the last thing to be written, once pixels and columns are on disk."""
    (folder / "entry.json").write_text(json.dumps(asdict(description), ensure_ascii=False), encoding="utf-8")


@contextmanager
def new_entry(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Two temporary folders: an entry that becomes ``folder`` if the block ends well, and one to be thrown away.

    Raises:
        InputError: if nothing can be written there, or the disk is full.
    """
    where = f"the cache folder '{folder.parent}'"
    with ExitStack() as stack:
        try:
            own = stack.enter_context(scratch(folder.parent))
            (own / "entry").mkdir()
            (own / "scratch").mkdir()
        except OSError as error:
            raise InputError(
                f"{where} cannot be written ({error.strerror}); set UNSTIR_CACHE to a folder that can."
            ) from error
        try:
            yield own / "entry", own / "scratch"
            _publish(own / "entry", folder, own / "damaged")
        except OSError as error:
            if error.errno not in FULL_DISK:
                raise
            raise InputError(
                f"the disk of {where} is full; free space there, or set UNSTIR_CACHE to a folder with more."
            ) from error


def _publish(entry: Path, folder: Path, aside: Path) -> None:
    try:
        entry.rename(folder)
    except OSError:  # something is there: another job's entry, or a damaged one
        if read(folder) is not None:
            return
        folder.rename(aside)
        entry.rename(folder)
