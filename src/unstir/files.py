"""Writing a file whole or not at all, whatever stops it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unstir.errors import InputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it becomes ``path`` at once, on failure it goes.

    The temporary path is in a folder of its own, since what writes it may do so by temporary files too.

    Raises:
        InputError: If the disk is full or the folder cannot be written.
    """
    from safetensors import SafetensorError

    scratch = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        partial = scratch / path.name
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.chmod(0o666 & ~_umask())  # safetensors makes files that only their owner may read
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} could not be written: {getattr(error, 'strerror', None) or error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _umask() -> int:
    """Return the process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
