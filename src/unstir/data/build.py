"""Decode all images of a source into a cache entry: threads read and decode, this one writes, in order."""

from __future__ import annotations

import logging
import os
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from unstir.data import cache
from unstir.data.config import DataConfig
from unstir.data.dataset import fingerprint
from unstir.data.decode import Encoded, decode
from unstir.data.listing import Contents, Listing, hold_back
from unstir.errors import InputError

_CHUNK = 64  # images that a thread reads and decodes at a time

_log = logging.getLogger(__name__)


class _ColourAfterGray(Exception):
    """A colour image came after gray ones had been stored in one channel."""


def build(contents: Contents, config: DataConfig, folder: Path, show: bool) -> None:
    """Decode all images into ``folder``, and describe them there.

    Args:
        contents: the images, still encoded. Without a held-out part one is held back.
        config: the shape to bring them to, and how many may be unreadable.
        folder: an empty folder.
        show: whether to show a progress bar.

    Raises:
        InputError: for too few images, too many unreadable ones, or sizes that differ.
    """
    if contents.held_out is None:
        parts = hold_back(contents.train, config.source)
    else:
        parts = (contents.train, contents.held_out)
    _check_channels(parts[0], config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd but readable files
        try:
            description = _write(parts, config, folder, show)
        except _ColourAfterGray:
            description = _write(parts, config.model_copy(update={"channels": 3}), folder, show)
    whole = cache.Entry(*cache.arrays(folder, description), description)
    halves = (slice(0, description.train), slice(description.train, None))
    train, held_out = (
        fingerprint(whole.pixels[h], None if whole.labels is None else whole.labels[h]) for h in halves
    )
    if whole.labels is not None and (missing := int((whole.labels < 0).sum())):
        _log.warning("%d images of '%s' have no label; their part goes unlabelled", missing, config.source)
    cache.describe(folder, replace(description, classes=contents.classes, fingerprints=(train, held_out)))


def _check_channels(listing: Listing, config: DataConfig) -> None:
    sample = listing.read(listing.indices[:1])[0]
    if not isinstance(sample, np.ndarray) or len(sample) in (1, 3, 4):
        return
    if config.size not in (None, sample.shape[1:]) or config.channels is not None:
        raise InputError(
            f"the images of '{config.source}' have {len(sample)} channels and cannot be resized or converted; "
            "leave data.size and data.channels unset."
        )


def _write(parts: tuple[Listing, Listing], config: DataConfig, folder: Path, show: bool) -> cache.Description:
    """Store pixels and labels of the images that can be read, those of the first part first."""
    skipped: list[tuple[str, str]] = []
    kept: list[Listing] = []
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with _bar(show) as bar, ThreadPoolExecutor(workers) as pool, open(folder / "pixels", "wb") as file:
        task = bar.add_task(f"decoding {config.source}", total=sum(map(len, parts)))
        store = _Store(file, config.source)
        for listing in parts:
            good: list[int] = []
            for positions, results in _decoded(listing, config, pool, ahead=2 * workers):
                for position, result in zip(positions.tolist(), results):
                    name = listing.name(int(listing.indices[position]))
                    if isinstance(result, np.ndarray):
                        store.add(result, name)
                        good.append(position)
                    else:
                        skipped.append((name, result))
                if len(skipped) > config.corrupt_limit:
                    raise InputError(_too_many(skipped, config))
                bar.advance(task, len(results))
            kept.append(listing.take(np.array(good, dtype=np.int64)))
        file.flush()
        os.fsync(file.fileno())
    n, train = sum(map(len, kept)), len(kept[0])
    if n < 2 or store.shape is None:
        why = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
        raise InputError(f"too few images of '{config.source}' can be read: {n}, of at least 2{why}.")
    labelled = any(part.labels is not None for part in kept)
    if labelled:
        known = [np.full(len(p), -1, np.int64) if p.labels is None else p.labels for p in kept]
        np.concatenate(known).tofile(folder / "labels")
    captions: tuple[str, ...] = ()
    if any(part.captions for part in kept):
        captions = tuple(chain.from_iterable(part.captions or [""] * len(part) for part in kept))
    # Should a whole part have been unreadable, the other gives it one image.
    train = min(max(train, 1), n - 1)
    return cache.Description((n, *store.shape), train, labelled, (), captions, tuple(skipped))


@dataclass
class _Store:
    """Pixels on their way to a file; all of the shape of the first."""

    file: IO[bytes]
    source: str
    shape: tuple[int, int, int] | None = None
    first: str = ""

    def add(self, image: np.ndarray, name: str) -> None:
        """Append an image, uint8 (C, H, W); a gray one among colour ones gets equal channels.

        Raises:
            InputError: if its size differs from the first's.
            _ColourAfterGray: if it has colour and the first had none.
        """
        if self.shape is None:
            channels, height, width = image.shape
            self.shape, self.first = (channels, height, width), name
        if image.shape[1:] != self.shape[1:]:
            sizes = ["{1}x{0}".format(*shape[1:]) for shape in (self.shape, image.shape)]
            raise InputError(
                f"the images of '{self.source}' differ in size ({self.first} is {sizes[0]}, {name} is {sizes[1]} "
                "pixels wide and high); bring them to one with --set data.size=[64,64]."
            )
        if len(image) > self.shape[0]:
            raise _ColourAfterGray
        self.file.write(np.ascontiguousarray(np.broadcast_to(image, self.shape)).data)


def _decoded(
    listing: Listing, config: DataConfig, pool: ThreadPoolExecutor, ahead: int
) -> Iterator[tuple[np.ndarray, list[np.ndarray | str]]]:
    """(positions, images) in order; in place of an unreadable image, why. At most ``ahead`` chunks wait."""

    def work(positions: np.ndarray) -> list[np.ndarray | str]:
        return [_attempt(encoded, config) for encoded in listing.read(listing.indices[positions])]

    waiting: deque[tuple[np.ndarray, Future[list[np.ndarray | str]]]] = deque()
    for start in range(0, len(listing), _CHUNK):
        positions = np.arange(start, min(start + _CHUNK, len(listing)))
        waiting.append((positions, pool.submit(work, positions)))
        if len(waiting) > ahead:
            positions, future = waiting.popleft()
            yield positions, future.result()
    for positions, future in waiting:
        yield positions, future.result()


def _attempt(encoded: Encoded, config: DataConfig) -> np.ndarray | str:
    try:
        return decode(encoded, config.size, config.channels)
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make Pillow's decoders raise nearly anything
        if isinstance(encoded, bytes):
            return "not an image in a format Pillow knows" if encoded else "no image there"
        return " ".join(str(error).split()) or type(error).__name__


def _too_many(skipped: list[tuple[str, str]], config: DataConfig) -> str:
    names = ", ".join(name for name, _ in skipped[:5])
    return (
        f"more than {config.corrupt_limit} images of '{config.source}' cannot be read ({names}"
        f"{', ...' if len(skipped) > 5 else ''}; {skipped[0][0]}: {skipped[0][1]}); mend or remove them, or raise "
        "data.corrupt_limit."
    )


class _Rate(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} images/s" if speed else "")


def _bar(show: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not show,
    )
