"""Where the decoded images of a source are kept, and whether it has more by now. No torch."""

from __future__ import annotations

import glob
import hashlib
import json
from pathlib import Path

from unstir.cache import cache_folder
from unstir.data.config import DataConfig
from unstir.data.sources import Source, find
from unstir.errors import InputError, printable

_VERSION = 3  # of the entries; whoever changes the pixels or columns in them raises it


def place(source: Source, config: DataConfig) -> Path:
    """The entry of a source as it is now, in the shape that a configuration asks for."""
    identity = [_VERSION, source.identity(), config.size, config.channels]
    key = hashlib.blake2b(json.dumps(identity).encode(), digest_size=10).hexdigest()
    return cache_folder() / "images" / f"{_stem(source)}-{key}"


def _stem(source: Source) -> str:
    """How the names of a source's entries begin: short, as a file system takes 255 bytes."""
    return printable(source.name)[:40]


def added_since(config: DataConfig, fingerprint: str) -> int:
    """How many more images a folder holds than when it held the training images of this fingerprint.

    0 as well where the source is no folder of images, or one that cannot be read now, and where the cache does not
    hold those images any more.
    """
    from unstir.data import entries, folder

    source = find(config.source)
    if source.kind != "images":
        return 0
    for path in (cache_folder() / "images").glob(f"{glob.escape(_stem(source))}-*"):
        entry = entries.read(path)
        if entry is None or entry.description.fingerprints[0] != fingerprint:
            continue
        try:
            found = folder.contents(Path(source.place))
        except InputError:
            return 0
        now = len(found.train) + (len(found.held_out) if found.held_out else 0)
        return max(0, now - entry.description.shape[0] - len(entry.description.skipped))
    return 0
