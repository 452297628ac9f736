"""From a configuration to images: decoded once into the cache, from then on memory-mapped."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import sys
from pathlib import Path

from unstir.cache import cache_folder
from unstir.data import entries
from unstir.data.build import build
from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData, Splits
from unstir.data.listing import Contents
from unstir.data.sources import Source, find
from unstir.errors import InputError, printable

_VERSION = 3  # of the entries; whoever changes the pixels or columns in them raises it
_NAMED = 10  # unreadable images that the warning names

_log = logging.getLogger(__name__)


def load(config: DataConfig) -> Splits:
    """Load the images of a source, decoding them if the cache does not hold them yet.

    Images that cannot be read are skipped, and named in one warning. On a terminal a progress bar is shown.

    Args:
        config: what to load, and its shape.

    Raises:
        InputError: for a source that is not there, cannot be fetched, or holds fewer than two images; for more
            unreadable images than ``corrupt_limit``; for sizes that differ while ``size`` is None; for a cache
            that cannot be written or whose disk is full.
    """
    source = find(config.source)
    identity = [_VERSION, source.identity(), config.size, config.channels]
    key = hashlib.blake2b(json.dumps(identity).encode(), digest_size=10).hexdigest()
    folder = cache_folder() / "images" / f"{_stem(source)}-{key}"
    entry = entries.read(folder)
    if entry is None:
        if folder.exists():
            _log.warning("what the cache holds of '%s' is damaged, and made anew", config.source)
        show = sys.stderr.isatty()
        # The scratch folder is for what reading tables leaves behind; it goes before the entry is published.
        with entries.new_entry(folder) as temporary, entries.scratch(temporary) as scratch:
            build(_contents(source, scratch, show), config, temporary, show)
        entry = entries.read(folder)
    if entry is None:
        raise InputError(f"the cache entry '{folder}' was removed while it was read; run this again.")
    _report_skipped(entry.description.skipped, config)
    train, held_out = (
        ImageData(*entry.part(number), fingerprint, source.name)
        for number, fingerprint in enumerate(entry.description.fingerprints)
    )
    return Splits(train, held_out, "; ".join(filter(None, (source.note, entry.description.note))))


def added_since(config: DataConfig, fingerprint: str) -> int:
    """How many more images a folder holds than when it held the training images of this fingerprint.

    0 as well where the source is no folder of images, and where the cache does not hold those images any more.
    """
    source = find(config.source)
    if source.kind != "images":
        return 0
    for place in (cache_folder() / "images").glob(f"{glob.escape(_stem(source))}-*/entry.json"):
        entry = entries.read(place.parent)
        if entry is not None and entry.description.fingerprints[0] == fingerprint:
            before = entry.description.shape[0] + len(entry.description.skipped)
            return max(0, _count(source) - before)
    return 0


def _count(source: Source) -> int:
    from unstir.data import folder

    found = folder.contents(Path(source.place))
    return len(found.train) + (len(found.held_out) if found.held_out else 0)


def _stem(source: Source) -> str:
    """How the names of a source's entries begin: short, as a file system takes 255 bytes."""
    return printable(source.name)[:40]


def _contents(source: Source, scratch: Path, show: bool) -> Contents:
    if source.kind == "images":
        from unstir.data import folder

        return folder.contents(Path(source.place))
    if source.kind in ("hub", "tables"):
        from unstir.data import tables

        return tables.contents(source, scratch, show)
    from unstir.data import arrays

    return arrays.digits() if source.kind == "bundled" else arrays.contents(Path(source.place))


def _report_skipped(skipped: tuple[tuple[str, str], ...], config: DataConfig) -> None:
    if len(skipped) > config.corrupt_limit:  # an entry made under a higher limit
        raise InputError(
            f"{len(skipped)} images of '{config.source}' cannot be read, such as {skipped[0][0]}; mend or remove "
            f"them, or raise data.corrupt_limit above {config.corrupt_limit}."
        )
    if skipped:
        names = "".join(f"\n  {name}: {reason}" for name, reason in skipped[:_NAMED])
        more = f"\n  and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
        _log.warning("%d unreadable images of '%s' are skipped:%s%s", len(skipped), config.source, names, more)
