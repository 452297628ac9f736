"""``.npy`` and ``.npz`` files: which arrays they hold, and these. Whatever is wrong with one is one sentence."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from unstir.errors import InputError, told_shortly

if TYPE_CHECKING:
    import numpy as np

IMAGES = "images"
"""What the images are called in an ``.npz`` file; those of an ``.npy`` file are its only array."""


class Head(NamedTuple):
    """What an array is, without its contents."""

    shape: tuple[int, ...]
    dtype: np.dtype


def heads(path: Path) -> dict[str, Head]:
    """The heads of the arrays in a file, by name; checked against the bytes that are there.

    Raises:
        InputError: for a file that cannot be read.
    """
    with _sentence(path):
        if path.suffix == ".npy":
            with path.open("rb") as stream:
                return {IMAGES: _head(stream, path.stat().st_size)}
        with zipfile.ZipFile(path) as archive:
            found = {}
            for member in archive.infolist():
                if member.filename.endswith(".npy"):
                    with archive.open(member) as stream:
                        found[member.filename.removesuffix(".npy")] = _head(stream, member.file_size)
            return found


def array(path: Path, name: str) -> np.ndarray:
    """An array of a file; that of an ``.npy`` file memory-mapped.

    Raises:
        InputError: if it cannot be read, as where bytes are not those that were written.
    """
    import numpy as np

    with _sentence(path):
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if path.suffix == ".npy":
            return loaded
        with loaded:
            return loaded[name]


def turned(shape: tuple[int, ...]) -> bool:
    """Whether images (N, a, b, c) have their channels last, as in (N, H, W, 3); where that cannot be told, not.

    Channels are 1, 3 or 4 in most images, which are wider and higher than 4; and few that are not square are more
    than twice as high as wide.

    >>> turned((9, 32, 20, 3)), turned((9, 8, 8, 4)), turned((9, 16, 8, 4)), turned((9, 3, 20, 3))
    (True, True, False, False)
    """
    _, a, b, c = shape
    return c in _USUAL and min(a, b) > 4 and (a == b or b > 2 * c)


def taken_as(shape: tuple[int, ...]) -> str:
    """What the axes of images were taken for, if by their lengths it could be otherwise."""
    if shape[-1] not in _USUAL:
        return ""
    return "(N, H, W, C)" if turned(shape) else "(N, C, H, W)"


_USUAL = (1, 3, 4)


@contextmanager
def _sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # zipfile, zlib and numpy raise nearly anything on damaged bytes
        why = told_shortly(error) or type(error).__name__
        raise InputError(f"'{path}' cannot be read as {path.suffix} ({why}); save it again with numpy.") from error


def _head(stream: IO[bytes], size: int) -> Head:
    """Read an array's head.

    Raises:
        ValueError: if there are not as many bytes as it says, which numpy would make room for.
    """
    from numpy.lib import format as npy

    read = npy.read_array_header_1_0 if npy.read_magic(stream)[0] == 1 else npy.read_array_header_2_0
    shape, _, dtype = read(stream)
    there = size - stream.tell()
    if not dtype.hasobject and (min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize > there):
        raise ValueError(f"it says that it holds {dtype} {shape}, and has {there:,} bytes")
    return Head(shape, dtype)
