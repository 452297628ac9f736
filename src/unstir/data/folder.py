"""A folder of image files: which are images, which of their folders are classes, and where their captions are.

- Hidden files and folders are ignored, and so are the folders of runs; links to folders are followed, each folder
  once.
- If the subfolders directly beneath are named as parts (``train`` or ``training`` with ``test``, ``testing``,
  ``val``, ``valid`` or ``validation``, in letters of any size), they are the training and the held-out images;
  ``test`` goes before the others. If there are both, fewer images beside them are left out.
- If every image lies in a subfolder and there are at least two of these, each is a class.
- Captions: ``metadata.jsonl`` or ``metadata.csv`` with ``file_name`` (relative to the file's own folder) and
  ``text`` (or ``caption``), otherwise ``photo.txt`` beside ``photo.jpg``.
- Whatever else the metadata say of every image goes with it: numbers; words, if there are at most 100 different
  ones, as classes; and a further picture, ``edges``, where a column is called ``edges_file_name``. Such pictures
  are no images themselves. Where subfolders are no classes, a column ``label`` is.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from posixpath import splitext
from typing import TYPE_CHECKING

from unstir.data.metadata import known as what_is_known
from unstir.errors import InputError, counted, printable

if TYPE_CHECKING:
    from unstir.data.columns import Column
    from unstir.data.listing import Contents, Listing, Read

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".jpe")
IMAGE_SUFFIXES = (".png", *JPEG_SUFFIXES, ".webp", ".bmp", ".gif", ".tif", ".tiff")
_OTHER_PICTURES = frozenset(
    [
        ".apng",
        ".arw",
        ".avif",
        ".cr2",
        ".cr3",
        ".dng",
        ".eps",
        ".exr",
        ".hdr",
        ".heic",
        ".heif",
        ".ico",
        ".j2k",
        ".jp2",
        ".jpf",
        ".jpx",
        ".jxl",
        ".nef",
        ".orf",
        ".pbm",
        ".pcx",
        ".pgm",
        ".pnm",
        ".ppm",
        ".psd",
        ".qoi",
        ".raf",
        ".rw2",
        ".svg",
        ".tga",
        ".xcf",
    ]
)
"""Endings of pictures that are not read, which is said."""

_OF_A_RUN = ("model.safetensors", "checkpoints", "metrics.jsonl")  # beside config.yaml
_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
}
"""Which part a folder is, by its name in small letters."""

_log = logging.getLogger(__name__)


def files_in(folder: Path, unreadable: list[str] | None = None) -> Iterator[list[tuple[str, os.DirEntry[str]]]]:
    """Each folder's files, the topmost first, sorted by name: (path relative to ``folder`` with ``/``, entry).

    Folders of runs are passed over with all that is in them: what a model drew is no data.

    Args:
        folder: where to begin.
        unreadable: gets the relative paths of folders that cannot be listed and of links that lead nowhere but to
            themselves, which are passed over.

    Raises:
        InputError: if ``folder`` itself cannot be listed.
    """
    waiting, seen = [("", os.fspath(folder))], set()
    unreadable = [] if unreadable is None else unreadable
    while waiting:
        prefix, path = waiting.pop()
        try:
            status = os.stat(path)
            with os.scandir(path) as found:
                entries = sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            if prefix:
                unreadable.append(prefix)
                continue
            raise InputError(
                f"the folder '{path}' cannot be read ({error.strerror}); make it readable or give another."
            ) from error
        if (status.st_dev, status.st_ino) in seen or is_run(path, {e.name for e in entries}):
            continue
        seen.add((status.st_dev, status.st_ino))
        files, folders = [], []
        for entry in entries:
            try:
                if entry.is_dir():
                    folders.append((f"{prefix}{entry.name}/", entry.path))
                elif entry.is_file():
                    files.append((prefix + entry.name, entry))
            except OSError:  # a link to itself
                unreadable.append(prefix + entry.name)
        yield files
        waiting += reversed(folders)


def is_run(folder: str | os.PathLike[str], names: Container[str]) -> bool:
    """Whether a folder that holds these names is that of a run of ours, or of a plan of several."""
    if "config.yaml" in names:
        return any(name in names for name in _OF_A_RUN)
    return "plan.yaml" in names and any(Path(folder).glob("*/config.yaml"))


def signature(folder: Path, suffixes: Iterable[str]) -> list[tuple[str, int, int]]:
    """(relative path, bytes, modification time in ns) of every file that ends so, which tells a changed folder."""
    endings = tuple(suffixes)
    return [
        (path, entry.stat().st_size, entry.stat().st_mtime_ns)
        for files in files_in(folder)
        for path, entry in files
        if path.lower().endswith(endings)
    ]


def is_image(path: str) -> bool:
    """Whether a file's name ends as an image's."""
    return path.lower().endswith(IMAGE_SUFFIXES)


def contents(folder: Path) -> Contents:
    """List the images of a folder and what is known of them.

    Raises:
        InputError: for a folder that cannot be listed, or a caption file that cannot be understood.
    """
    import numpy as np

    from unstir.data.columns import Column
    from unstir.data.listing import Contents

    unreadable: list[str] = []
    paths = [path for files in files_in(folder, unreadable) for path, _ in files]
    known = what_is_known(folder, paths, [path for path in paths if is_image(path)])
    parts = _parts(known.images)
    images = [path for part in parts for path in part]
    # Within a part, the classes are the folders beneath it.
    within = {path: path.split("/", 1)[1] if len(parts) == 2 else path for path in images}
    nested = all("/" in path for path in within.values())
    tops = {path: inner.split("/")[0] for path, inner in within.items()}
    classes = tuple(sorted(set(tops.values()))) if nested else ()
    if len(classes) < 2:
        classes = ()
    columns: dict[str, Column] = {}
    if classes:
        number = {name: index for index, name in enumerate(classes)}
        columns["label"] = _classes([number[tops[path]] for path in images], classes)
    for name, values in known.values.items():
        if name not in columns and (column := _column(name, [values.get(path) for path in images])):
            columns[name] = column
    if known.captions:
        columns["caption"] = Column("text", tuple(known.captions.get(path, "") for path in images))
    pictures = {}
    for name, beside in known.pictures.items():
        if missing := len(images) - len(beside.keys() & {*images}):
            _log.warning("%d images of '%s' have no %s, which is left out", missing, folder, name)
        elif name not in columns:
            pictures[name] = [beside[path] for path in images]
    whole = _listing(folder, images, columns, pictures)
    note = "; ".join(
        [
            *_said_of_parts(parts, len(known.images) - len(images)),
            *([f"classes {_few(classes)} from its folders"] if classes else []),
            *([f"{counted(known.unmatched, 'line')} of metadata name no image there"] if known.unmatched else []),
            *_said_of_files(paths, unreadable),
        ]
    )
    if len(parts) == 1 or not parts[1]:
        return Contents(whole, None, note)
    places = np.arange(len(images))
    return Contents(whole.take(places[: len(parts[0])]), whole.take(places[len(parts[0]) :]), note)


def _parts(images: list[str]) -> tuple[list[str]] | tuple[list[str], list[str]]:
    """All images; or if there are folders for parts, those of the training and of the held-out one, if any."""
    parts: dict[str, list[str]] = {}
    for path in images:
        top = path.split("/")[0].casefold() if "/" in path else ""
        parts.setdefault(_PARTS.get(top, "beside"), []).append(path)
    train, beside = parts.pop("train", []), parts.pop("beside", [])
    held_out = parts.get("test") or parts.get("validation") or []
    if not train or len(beside) >= (len(train) + len(held_out) if held_out else 1):
        return (images,)
    return train, held_out


def _said_of_parts(parts: tuple[list[str], ...], left_out: int) -> list[str]:
    tops = sorted({path.split("/")[0] for part in parts for path in part}) if len(parts) == 2 else []
    said = [f"{' and '.join(tops)} {'are its parts' if len(tops) > 1 else 'is what to train on'}"] if tops else []
    return said + ([f"{counted(left_out, 'image')} beside them left out"] if left_out else [])


def _said_of_files(paths: list[str], unreadable: list[str]) -> list[str]:
    other = Counter(ending for path in paths if (ending := splitext(path)[1].lower()) in _OTHER_PICTURES)
    counts = [f"{counted(count, 'file')} {ending}" for ending, count in other.most_common()]
    said = [f"{', '.join(counts)} passed over"] if counts else []
    return said + ([f"{_few(unreadable)} cannot be read and passed over"] if unreadable else [])


def _few(names: Sequence[str]) -> str:
    """Two names and how many more."""
    shown = [name if len(name) <= 40 else f"{name[:37]}..." for name in map(printable, names[:2])]
    return f"{', '.join(shown)} and {len(names) - 2:,} more" if len(names) > 2 else " and ".join(shown)


def _listing(
    folder: Path, paths: list[str], columns: Mapping[str, Column], pictures: Mapping[str, list[str]]
) -> Listing:
    import numpy as np

    from unstir.data.listing import Listing

    def reader(files: list[str]) -> Read:
        return lambda indices: [folder / files[i] for i in indices]

    readers = {name: reader(files) for name, files in pictures.items()}
    return Listing(np.arange(len(paths)), reader(paths), lambda index: paths[index], columns, readers)


def _classes(indices: list[int], names: tuple[str, ...]) -> Column:
    import numpy as np

    from unstir.data.columns import Column

    return Column("classes", np.array(indices, dtype=np.int64), names)


def _column(name: str, values: list[object]) -> Column | None:
    """Numbers if all values are, otherwise classes if they are few words; None if they are neither."""
    import numpy as np

    from unstir.data.columns import WORDS, Column, floats

    given = {value for value in values if isinstance(value, (str, int, float))}
    if not given or any(not isinstance(value, (str, int, float)) for value in values if value is not None):
        return None
    numbers = {value: _number(value) for value in given}
    words: list[str | int]
    if name == "label" and all(n is not None and n.is_integer() for n in numbers.values()):
        words = sorted({int(n) for n in numbers.values() if n is not None})
        index = {value: words.index(int(n)) for value, n in numbers.items() if n is not None}
    elif all(n is not None for n in numbers.values()):
        array = np.array([np.nan if value is None else numbers[value] for value in values])
        return Column("numbers", floats(array))
    elif all(isinstance(value, str) for value in given) and (name == "label" or len(given) <= WORDS):
        words = sorted(given)
        index = {value: place for place, value in enumerate(words)}
    else:
        return None
    return _classes([-1 if value is None else index[value] for value in values], tuple(map(str, words)))


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        return None
