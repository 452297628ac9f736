"""The one folder for what is made once and kept: decoded images, classifiers, compiled kernels. No torch."""

from __future__ import annotations

import os
from pathlib import Path

from unstir.errors import InputError


def cache_folder() -> Path:
    """Return ``$UNSTIR_CACHE``, otherwise ``unstir`` in ``$XDG_CACHE_HOME`` or ``~/.cache``; it may not be there.

    Raises:
        InputError: If it would lie in a home, and there is none.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.environ.get("UNSTIR_CACHE") or f"{base}/unstir")
    try:
        return folder.expanduser()
    except RuntimeError as error:  # as in a container that runs under a number that no user has
        raise InputError(
            f"the cache folder '{folder}' is in a home that is not there; set UNSTIR_CACHE to a folder that can "
            "be written."
        ) from error
