"""Memory that a step frees is kept for the next one."""

from __future__ import annotations

import ctypes
import sys


def keep_freed_memory() -> None:
    """Stop the C library from handing large blocks back to Linux only to ask for them again, page by page.

    A tenth of a training step on a CPU goes there. Does nothing where the C library is not glibc.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "mallopt"):
        trim_threshold, mmap_threshold, most = -1, -3, 2**31 - 1
        library.mallopt(trim_threshold, most)
        library.mallopt(mmap_threshold, most)
