"""Decode all images of a source into a cache entry: threads read and decode, this one writes, in order."""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from multiprocessing import TimeoutError
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path
from threading import Event
from typing import IO

import numpy as np
from PIL import UnidentifiedImageError
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

from unstir.data import entries
from unstir.data.columns import Column, blocks
from unstir.data.config import DataConfig
from unstir.data.dataset import fingerprint
from unstir.data.decode import Decoded, Encoded, decoded, shape_of
from unstir.data.fitted import Fitted
from unstir.data.listing import Contents, Listing, hold_back
from unstir.errors import InputError, counted, printable

_CHUNK = 64  # images that a thread reads and decodes at a time

_Decoded = list[Decoded] | str  # an image and its pictures, or why they cannot be read

_log = logging.getLogger(__name__)


class _Uneven(Exception):
    """Images, or further pictures of theirs, differ in size.

    Attributes:
        number: 0 for the images, else which of the pictures.
    """

    def __init__(self, number: int, said: str) -> None:
        super().__init__(said)
        self.number = number


class _ColourAfterGray(Exception):
    """A colour picture came after gray ones had been stored in one channel; carries the number of its store."""


def build(contents: Contents, config: DataConfig, folder: Path, show: bool) -> None:
    """Decode all images and their pictures into ``folder``, and describe them there.

    Left early, as by Ctrl-C, it waits for nothing: threads stop once each is done with the picture in its hand.

    Args:
        contents: the images, still encoded. Without a held-out part one is held back.
        config: the shape to bring them to, and how many may be unreadable.
        folder: an empty folder.
        show: whether to show a progress bar.

    Raises:
        InputError: for too few images, too many unreadable ones, sizes that differ, or more than the disk takes.
    """
    notes = [contents.note]
    if contents.held_out is None:
        parts = hold_back(contents.train, config.source)
        if np.isin(parts[1].indices, parts[0].indices).any():
            notes.append("as each class has one image, the one held out is trained on too")
    else:
        parts = (contents.train, contents.held_out)
    _check_channels(parts[0], config)
    channels = [config.channels, *(None for _ in parts[0].pictures)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd but readable files
        _check_room(parts, config, folder)
        while True:
            for left in folder.iterdir():  # of a first attempt
                if left.is_file():
                    left.unlink()
            try:
                description = _write(parts, config, channels, folder, show)
                break
            except _ColourAfterGray as colour:
                channels[colour.args[0]] = 3
            except _Uneven as uneven:
                if not uneven.number:
                    raise InputError(f"{uneven}; bring them to one with --set data.size=[64,64].") from None
                _log.warning("%s; they are left out (--set data.size=[64,64] would bring them to one)", uneven)
                name = [*parts[0].pictures][uneven.number - 1]
                del channels[uneven.number]
                parts = _without_pictures(parts[0], name), _without_pictures(parts[1], name)
    description = _without_gaps(entries.entry(folder, description), config)
    whole = entries.entry(folder, description)
    train, held_out = (fingerprint(*whole.part(number)) for number in (0, 1))
    note = "; ".join(filter(None, [*notes, description.note]))
    listed = len(contents.train) + len(contents.held_out or ())
    entries.describe(folder, replace(description, listed=listed, fingerprints=(train, held_out), note=note))


def _without_pictures(listing: Listing, name: str) -> Listing:
    return replace(listing, pictures={key: read for key, read in listing.pictures.items() if key != name})


def _check_channels(listing: Listing, config: DataConfig) -> None:
    whole = {"images": (listing.read, config.channels)}
    for what, (read, channels) in (
        whole | {f"'{k}'": (read, None) for k, read in listing.pictures.items()}
    ).items():
        sample = read(listing.indices[:1])[0]
        if not isinstance(sample, np.ndarray) or len(sample) in (1, 3, 4):
            continue
        if config.size not in (None, sample.shape[1:]) or channels is not None:
            raise InputError(
                f"the {what} of '{config.source}' have {len(sample)} channels and cannot be resized or converted; "
                "leave data.size and data.channels unset."
            )


def _check_room(parts: tuple[Listing, Listing], config: DataConfig, folder: Path) -> None:
    """Check, before any is decoded, that images like the first fit on the disk."""
    try:
        shape = shape_of(parts[0].read(parts[0].indices[:1])[0])
    except Exception:  # of a damaged image Pillow raises nearly anything; it is told when it is decoded
        return
    channels, height, width = (config.channels or shape[0], *(config.size or shape[1:]))
    count = sum(map(len, parts))
    needed, free = count * channels * height * width, shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"the {count:,} images of '{config.source}', decoded to {width}x{height} pixels, take "
            f"{needed / 1e9:,.1f} GB and the disk of the cache has {free / 1e9:,.1f} GB left; ask for a smaller "
            "data.size, or set UNSTIR_CACHE to a folder with more."
        )


def _without_gaps(whole: entries.Entry, config: DataConfig) -> entries.Description:
    """Note in which part a column lacks values, and say how many."""
    train, noted = whole.description.train, []
    for described, column in zip(whole.description.columns, whole.columns):
        missing = [column.take(half).missing() for half in (slice(0, train), slice(train, None))]
        if any(missing):
            _log.warning(
                "%d images of '%s' have no %s; their part goes without",
                sum(missing),
                config.source,
                described.name,
            )
        noted.append(replace(described, complete=(not missing[0], not missing[1])))
    return replace(whole.description, columns=tuple(noted))


def _write(
    parts: tuple[Listing, Listing], config: DataConfig, channels: Sequence[int | None], folder: Path, show: bool
) -> entries.Description:
    """Store the images that can be read with all that is known of them, those of the first part first."""
    skipped: list[tuple[str, str]] = []
    kept: list[Listing] = []
    fitted = Fitted(config)
    plain, pictures = [*parts[0].columns], [*parts[0].pictures]
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    places = [folder / "pixels", *(entries.place(folder, len(plain) + i) for i in range(len(pictures)))]
    # Threads that nothing waits for, not even the interpreter's end: one picture may take a second.
    with _bar(show) as bar, ThreadPool(workers) as pool, ExitStack() as stack:
        leaving = Event()
        stack.callback(leaving.set)
        task = bar.add_task(f"decoding {config.source}", total=sum(map(len, parts)))
        stores = [
            _Store(stack.enter_context(open(place, "wb")), config.source, number, what)
            for number, (place, what) in enumerate(zip(places, ["images", *(f"'{name}'" for name in pictures)]))
        ]
        for listing in parts:
            good: list[int] = []
            for positions, results in _decoded(listing, config, channels, pool, leaving, 2 * workers):
                for position, result in zip(positions.tolist(), results):
                    name = printable(listing.name(int(listing.indices[position])))
                    if isinstance(result, str):
                        skipped.append((name, printable(result)))
                        continue
                    for store, picture in zip(stores, result, strict=True):
                        store.add(picture.pixels, name)
                    fitted.add(result[0])
                    good.append(position)
                if len(skipped) > config.corrupt_limit:
                    raise InputError(_too_many(skipped, config))
                bar.advance(task, len(results))
            kept.append(listing if len(good) == len(listing) else listing.take(np.array(good, dtype=np.int64)))
        for store in stores:
            store.file.flush()
            os.fsync(store.file.fileno())
    n, train = sum(map(len, kept)), len(kept[0])
    shape = stores[0].shape
    if n < 2 or shape is None:
        why = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
        raise InputError(f"too few images of '{config.source}' can be read: {n}, of at least 2{why}.")
    fitted.check()
    described = [
        _store_column(printable(name), [part.columns[name] for part in kept], entries.place(folder, position))
        for position, name in enumerate(plain)
    ]
    described += [
        entries.ColumnDescription(printable(name), "picture", store.shape or ())
        for name, store in zip(pictures, stores[1:])
    ]
    # Should a whole part have been unreadable, the other gives it one image.
    train = min(max(train, 1), n - 1)
    blank = stores[0].blank
    said = [f"{counted(blank, 'image')} white or transparent all over"] if blank else []
    said += fitted.notes()
    said += ["1 image alone is left to train on, and a model will draw no other"] if train == 1 else []
    return entries.Description((n, *shape), train, tuple(described), tuple(skipped), note="; ".join(said))


def _store_column(name: str, parts: list[Column], place: Path) -> entries.ColumnDescription:
    """Store the values of both parts in a file; text goes into the description."""
    kind, classes = parts[0].kind, parts[0].classes
    if kind == "text":
        return entries.ColumnDescription(name, kind, texts=tuple(text for part in parts for text in part.values))
    with place.open("wb") as file:
        for part in parts:
            for block in blocks(part.array):
                file.write(block.data)
        file.flush()
        os.fsync(file.fileno())
    return entries.ColumnDescription(name, kind, parts[0].array.shape[1:], classes)


@dataclass
class _Store:
    """Pixels on their way to a file, all of the shape of the first: the images, or further pictures of theirs."""

    file: IO[bytes]
    source: str
    number: int
    what: str
    shape: tuple[int, int, int] | None = None
    first: str = ""
    blank: int = 0
    """How many are white, or where transparency is kept transparent, all over."""

    def add(self, image: np.ndarray, name: str) -> None:
        """Append an image, uint8 (C, H, W); a gray one among colour ones gets equal channels.

        Raises:
            _Uneven: if its size differs from the first's.
            _ColourAfterGray: if it has colour and the first had none.
        """
        if self.shape is None:
            channels, height, width = image.shape
            self.shape, self.first = (channels, height, width), name
        if image.shape[1:] != self.shape[1:]:
            sizes = ["{1}x{0}".format(*shape[1:]) for shape in (self.shape, image.shape)]
            said = f"{self.first} is {sizes[0]}, {name} is {sizes[1]} pixels wide and high"
            raise _Uneven(self.number, f"the {self.what} of '{self.source}' differ in size ({said})")
        if len(image) > self.shape[0]:
            raise _ColourAfterGray(self.number)
        self.blank += int(not image[3].any() if len(image) == 4 else image.min() == 255)
        self.file.write(np.ascontiguousarray(np.broadcast_to(image, self.shape)).data)


def _decoded(
    listing: Listing,
    config: DataConfig,
    channels: Sequence[int | None],
    pool: ThreadPool,
    leaving: Event,
    ahead: int,
) -> Iterator[tuple[np.ndarray, list[_Decoded]]]:
    """(positions, images with their pictures) in order, or why not; at most ``ahead`` chunks wait."""
    names = ["", *(f"{name}: " for name in listing.pictures)]

    def work(positions: np.ndarray) -> list[_Decoded]:
        indices = listing.indices[positions]
        encoded = [read(indices) for read in (listing.read, *listing.pictures.values())]
        return [together(pictures) for pictures in zip(*encoded) if not leaving.is_set()]

    def together(encoded: tuple[Encoded, ...]) -> _Decoded:
        results = []
        for name, picture, wanted in zip(names, encoded, channels, strict=True):
            result = _attempt(picture, config, wanted)
            if isinstance(result, str):
                return name + result
            results.append(result)
        return results

    waiting: deque[tuple[np.ndarray, AsyncResult[list[_Decoded]]]] = deque()
    for start in range(0, len(listing), _CHUNK):
        positions = np.arange(start, min(start + _CHUNK, len(listing)))
        waiting.append((positions, pool.apply_async(work, [positions])))
        if len(waiting) > ahead:
            positions, result = waiting.popleft()
            yield positions, _awaited(result)
    for positions, result in waiting:
        yield positions, _awaited(result)


def _awaited(result: AsyncResult[list[_Decoded]]) -> list[_Decoded]:
    """What a thread decodes; a Ctrl-C that comes just before the wait is heard within half a second."""
    while True:
        with suppress(TimeoutError):
            return result.get(timeout=0.5)


def _attempt(encoded: Encoded, config: DataConfig, channels: int | None) -> Decoded | str:
    try:
        return decoded(encoded, config.size, channels, config.fit, config.ground)
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make Pillow's decoders raise nearly anything
        if isinstance(encoded, bytes) and isinstance(error, UnidentifiedImageError):  # which names an object
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
