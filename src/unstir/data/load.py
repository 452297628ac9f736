"""From a configuration to images: decoded once into the cache, from then on memory-mapped."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from unstir.data import entries, kept
from unstir.data.build import build
from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData, Splits
from unstir.data.listing import Contents
from unstir.data.sources import Source, source_of
from unstir.errors import InputError, printable
from unstir.files import sweep

_NAMED = 10  # unreadable images that the warning names

_log = logging.getLogger(__name__)


def load(config: DataConfig) -> Splits:
    """Load the images of a source, decoding them if the cache does not hold them yet.

    Images that cannot be read are skipped, and named in one warning. On a terminal a progress bar is shown.

    Args:
        config: what to load, and its shape.

    Raises:
        InputError: for a source that is not there, cannot be fetched, or holds fewer than two images; for images
            that cannot be degraded or altered as is asked; for more unreadable ones than ``corrupt_limit``; for
            sizes that differ while ``size`` is None; for a size in which what is made here cannot be had; for a
            cache that cannot be written or whose disk is full.
    """
    source = source_of(config)
    folder = kept.place(source, config)
    sweep(folder.parent)
    entry = entries.read(folder)
    if entry is None:
        if folder.exists():
            _log.warning("what the cache holds of '%s' is damaged, and made anew", printable(config.source))
        show = sys.stderr.isatty()
        # What is thrown away is what reading tables leaves behind.
        with entries.new_entry(folder) as (temporary, scratch):
            build(_contents(source, config, scratch, show), config, temporary, show)
        entry = entries.read(folder)
    if entry is None:
        raise InputError(f"the cache entry '{folder}' was removed while it was read; run this again.")
    _report_skipped(entry.description.skipped, config)
    train, held_out = (
        ImageData(*entry.part(number), fingerprint, source.name)
        for number, fingerprint in enumerate(entry.description.fingerprints)
    )
    splits = Splits(train, held_out, "; ".join(filter(None, (source.note, entry.description.note))))
    return splits.degraded(config.degradations).augmented(config.augment)


def _contents(source: Source, config: DataConfig, scratch: Path, show: bool) -> Contents:
    if source.kind == "images":
        from unstir.data import folder

        return folder.contents(Path(source.place))
    if source.kind in ("hub", "tables"):
        from unstir.data import tables

        return tables.contents(source, scratch, show)
    if source.kind == "generated":
        from unstir.data.shapes import contents

        return contents.contents(config.size)
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
        _log.warning(
            "%d unreadable images of '%s' are skipped:%s%s", len(skipped), printable(config.source), names, more
        )
