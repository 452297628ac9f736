"""Decoded images on disk: an entry is a folder that appears whole or not at all.

``pixels`` holds uint8 (N, C, H, W), raw; ``labels`` int64 (N,), raw; ``entry.json`` all else. An entry is written
under a temporary name and renamed, so a job killed half way leaves no half entry, and of two jobs that write the
same one the first wins and both go on with it.
"""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from unstir.errors import InputError

_PART = ".part"
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_STALE_AFTER = 24 * 3600.0  # seconds without a write, after which a killed job's leavings are swept


@dataclass(frozen=True)
class Description:
    """An entry without its pixels and labels; stored as JSON.

    Attributes:
        shape: (N, C, H, W), training images first, held-out ones last.
        train: how many of the N are for training.
        labelled: whether labels are stored; a label of -1 is unknown.
        classes: class names.
        captions: one per image, or ().
        skipped: (name, reason) of each image that could not be read.
        fingerprints: of the training and of the held-out images.
    """

    shape: tuple[int, int, int, int]
    train: int
    labelled: bool
    classes: tuple[str, ...]
    captions: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    fingerprints: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Entry:
    """An entry that is whole: its pixels memory-mapped, its labels int64 (N,) or None."""

    pixels: np.ndarray
    labels: np.ndarray | None
    description: Description


def read(folder: Path) -> Entry | None:
    """The entry in a folder; None if there is none or it is damaged."""
    try:
        stored = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
        shape = tuple(int(n) for n in stored["shape"])
        description = Description(
            **stored
            | {name: tuple(stored[name]) for name in ("classes", "captions", "fingerprints")}
            | {"shape": shape, "skipped": tuple((name, reason) for name, reason in stored["skipped"])}
        )
        return Entry(*arrays(folder, description), description)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # absent, cut short, or of another version
        return None


def arrays(folder: Path, description: Description) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels, memory-mapped, and labels, as they lie in a folder.

    Raises:
        ValueError: if they are not as many as the description says.
        OSError: if they are not there.
    """
    pixels = np.asarray(np.memmap(folder / "pixels", dtype=np.uint8, mode="r"))
    labels = np.fromfile(folder / "labels", dtype=np.int64) if description.labelled else None
    if labels is not None and len(labels) != description.shape[0]:
        raise ValueError(f"{len(labels)} labels for {description.shape[0]} images")
    return pixels.reshape(description.shape), labels


def describe(folder: Path, description: Description) -> None:
    """Store the description: the last thing to be written, once pixels and labels are on disk."""
    (folder / "entry.json").write_text(json.dumps(asdict(description), ensure_ascii=False), encoding="utf-8")


@contextmanager
def new_entry(folder: Path) -> Iterator[Path]:
    """A temporary folder to write an entry to; it becomes ``folder`` if the block ends well, and goes if not.

    Raises:
        InputError: if nothing can be written there, or the disk is full.
    """
    where = f"the cache folder '{folder.parent}'"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=_PART, dir=folder.parent))
    except OSError as error:
        raise InputError(
            f"{where} cannot be written ({error.strerror}); set UNSTIR_CACHE to a folder that can."
        ) from error
    try:
        yield temporary
        _publish(temporary, folder)
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise InputError(
            f"the disk of {where} is full; free space there, or set UNSTIR_CACHE to a folder with more."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A folder beside an entry's files that is gone when the block ends."""
    inner = folder / "scratch"
    inner.mkdir()
    try:
        yield inner
    finally:
        shutil.rmtree(inner, ignore_errors=True)


def _publish(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:  # something is there: another job's entry, or a damaged one
        if read(folder) is not None:
            return
        aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=_PART, dir=folder.parent))
        folder.rename(aside / "damaged")
        shutil.rmtree(aside, ignore_errors=True)
        temporary.rename(folder)


def _sweep(parent: Path) -> None:
    """Remove what killed jobs left behind long ago."""
    for left in parent.glob(f"*{_PART}"):
        try:
            newest = max(path.stat().st_mtime for path in (left, *left.iterdir()))
        except OSError:  # another job has just finished with it
            continue
        if time.time() - newest > _STALE_AFTER:
            shutil.rmtree(left, ignore_errors=True)
