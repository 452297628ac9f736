"""The features of a set's images, kept in the cache: a network that takes an hour to read a set reads it once.

A file is a matrix of float32, which is mapped into memory when it is read and not copied there. Its name says
whose it is: the images (by the set's fingerprint, and which of them), and the backbone by its key, a hash of its
weights and its preprocessing. All files together take no more than ``MOST`` bytes: what was used longest ago makes
room, and what would be more alone is not kept, which is said.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from unstir.cache import cache_folder
from unstir.files import whole_file
from unstir.processes import gathered, processes

if TYPE_CHECKING:
    from unstir.data.dataset import ImageData
    from unstir.evaluation.backbones.backbone import Backbone

VERSION = 1
"""Of what stands in a file; whoever changes that raises it."""

MOST = 4 << 30
"""Bytes of all files together."""

Put = Callable[[np.ndarray, np.ndarray], None]

_log = logging.getLogger(__name__)


def kept(data: ImageData, backbone: Backbone, rows: np.ndarray) -> np.ndarray | None:
    """Return the features of some images of a set from the cache; None where some process finds none.

    Args:
        data: The set.
        backbone: What reads it.
        rows: Which images, int (n,), rising.

    Returns:
        Float32 (n, F), read-only where they are mapped.
    """
    whole = _opened(_path(data, backbone, np.arange(len(data))), len(data))
    found = _opened(_path(data, backbone, rows), len(rows)) if whole is None else whole
    if not all(gathered(found is not None)):
        return None
    assert found is not None
    return found[rows] if len(found) > len(rows) else found


@contextmanager
def written(data: ImageData, backbone: Backbone, rows: np.ndarray) -> Iterator[Put]:
    """Give what puts features into the cache; they are there when all were put, or not at all.

    All processes call it as often, with positions (b,) within ``rows`` and their features (b, F), which may be
    none. Those of all processes in one call lie in a row, behind those of the call before.

    Raises:
        InputError: If the cache cannot be written.
    """
    path = _path(data, backbone, rows)
    file: IO[bytes] | None = None
    begun = False
    with ExitStack() as stack:

        def put(positions: np.ndarray, features: np.ndarray) -> None:
            nonlocal file, begun
            parts = [part for part in gathered((positions, features.astype("<f4"))) if len(part[0])]
            if not processes().is_main_process or not parts:
                return
            numbers, block = (np.concatenate(each) for each in zip(*parts))
            if not begun:
                begun, shape = True, (len(rows), block.shape[1])
                if _has_room(path.parent, len(rows) * block[0].nbytes, data):
                    file = stack.enter_context(stack.enter_context(whole_file(path)).open("wb"))
                    about = {"descr": "<f4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, about)
            if file is not None:
                file.write(block[np.argsort(numbers)].tobytes())

        yield put


def keep(features: np.ndarray, data: ImageData, backbone: Backbone, rows: np.ndarray) -> None:
    """Keep the features (n, F) of some images of a set, which all processes have.

    Raises:
        InputError: If the cache cannot be written.
    """
    with written(data, backbone, rows) as put:
        mine = processes().is_main_process
        put(np.arange(len(rows) if mine else 0), features if mine else features[:0])


def _has_room(folder: Path, size: int, data: ImageData) -> bool:
    """Whether so many bytes may be kept; what was used longest ago goes for them."""
    folder.mkdir(parents=True, exist_ok=True)
    if size > min(MOST, shutil.disk_usage(folder).free):
        _log.warning(
            "the features of '%s' would take %.1f GB in %s, and are not kept: they are read anew each time",
            data.name,
            size / 1e9,
            folder,
        )
        return False
    files = sorted(folder.glob("*.npy"), key=lambda file: file.stat().st_mtime)
    there = sum(file.stat().st_size for file in files)
    for file in files:
        if there + size <= MOST:
            break
        there -= file.stat().st_size
        file.unlink(missing_ok=True)
    return True


def _opened(path: Path, count: int) -> np.ndarray | None:
    """Return the features in a file; None where there is none, or it is damaged."""
    try:
        found: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError):
        return None
    if found.dtype != np.dtype("<f4") or found.ndim != 2 or len(found) != count:
        return None
    with suppress(OSError):  # a cache that may only be read
        os.utime(path)
    return found


def _path(data: ImageData, backbone: Backbone, rows: np.ndarray) -> Path:
    which = "all"
    if len(rows) < len(data):
        which = hashlib.blake2b(rows.astype("<i8").tobytes(), digest_size=8).hexdigest()
    name = f"{data.fingerprint}-{backbone.key}-{which}-v{VERSION}.npy"
    return cache_folder() / "features" / name
