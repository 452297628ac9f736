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

_VERSION = 5  # of the entries; whoever changes the pixels or columns in them raises it


def place(source: Source, config: DataConfig) -> Path:
    """The entry of a source as it is now, in the shape that a configuration asks for."""
    key = _digest([_VERSION, source.identity(), config.size, config.fit, config.channels, config.ground])
    return cache_folder() / "images" / f"{_stem(source)}{key}"


def at_hand(config: DataConfig) -> bool:
    """Whether images are in files here, or were decoded before: to load them nothing is fetched or drawn."""
    from unstir.data import entries

    source = find(config.source)
    return source.kind not in ("hub", "generated") or entries.read(place(source, config)) is not None


def _stem(source: Source) -> str:
    """How the names of the entries of a place begin: short, as a file system takes 255 bytes."""
    return f"{printable(source.name)[:40]}-{_digest([source.kind, source.place], 5)}-"


def _digest(values: list[object], size: int = 10) -> str:
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=size).hexdigest()


def added_since(config: DataConfig, fingerprint: str) -> int | None:
    """How many more images a source holds than when its training images had this fingerprint.

    0 as well where it is no folder of images, or one that cannot be read now. None where the cache does not hold
    those images, or has them from another place.
    """
    from unstir.data import entries, folder

    source = find(config.source)
    for path in (cache_folder() / "images").glob(f"{glob.escape(_stem(source))}*"):
        entry = entries.read(path)
        if entry is None or entry.description.fingerprints[0] != fingerprint:
            continue
        if source.kind != "images":
            return 0
        try:
            found = folder.contents(Path(source.place))
        except InputError:
            return 0
        return max(0, len(found.train) + len(found.held_out or ()) - entry.description.listed)
    return None
