"""A folder of image files: which are images, which of their folders are classes, and where their captions are.

- Hidden files and folders are ignored, and so are the folders of runs; links to folders are followed, each folder
  once.
- If the subfolders directly beneath are named as parts (``train`` with ``test``, ``val``, ``valid`` or
  ``validation``), they are the training and the held-out images; ``test`` goes before the others.
- If every image lies in a subfolder and there are at least two of these, each is a class.
- Captions: ``metadata.jsonl`` or ``metadata.csv`` with ``file_name`` (relative to the file's own folder) and
  ``text`` (or ``caption``), otherwise ``photo.txt`` beside ``photo.jpg``.
- Whatever else the metadata say of every image goes with it: numbers; words, if there are at most 100 different
  ones, as classes; and a further picture, ``edges``, where a column is called ``edges_file_name``. Such pictures
  are no images themselves. Where subfolders are no classes, a column ``label`` is.
"""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from posixpath import dirname, join, normpath, splitext
from typing import TYPE_CHECKING

from unstir.errors import InputError

if TYPE_CHECKING:
    from unstir.data.columns import Column
    from unstir.data.listing import Contents, Listing, Read

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_METADATA = ("metadata.jsonl", "metadata.csv")
_PICTURE = "_file_name"
_OF_A_RUN = ("model.safetensors", "checkpoints", "metrics.jsonl")  # beside config.yaml
_HELD_OUT_FOLDERS = ("test", "validation", "valid", "val")

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

    paths = [path for files in files_in(folder) for path, _ in files]
    known = _known(folder, paths, [path for path in paths if is_image(path)])
    train, held_out = _parts(known.images)
    images = train[1] + held_out[1]
    # Within a part, the classes are the folders beneath it.
    tops = {path: path[len(prefix) :].split("/")[0] for prefix, part in (train, held_out) for path in part}
    nested = all("/" in path[len(prefix) :] for prefix, part in (train, held_out) for path in part)
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
    if not held_out[1]:
        return Contents(whole, None)
    places = np.arange(len(images))
    return Contents(whole.take(places[: len(train[1])]), whole.take(places[len(train[1]) :]))


def _parts(images: list[str]) -> tuple[tuple[str, list[str]], tuple[str, list[str]]]:
    """(prefix, images) of the training and of the held-out part; the latter may be empty."""
    tops = {path.split("/")[0] if "/" in path else "" for path in images}
    if "train" not in tops or not tops <= {"train", *_HELD_OUT_FOLDERS}:
        return ("", images), ("", [])
    other = next((f"{name}/" for name in _HELD_OUT_FOLDERS if name in tops), "")
    held_out = [path for path in images if other and path.startswith(other)]
    return ("train/", [path for path in images if path.startswith("train/")]), (other, held_out)


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


@dataclass
class _Known:
    """What text and metadata files say, by image; of the columns of metadata, first by name."""

    images: list[str]
    captions: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, object]] = field(default_factory=dict)
    pictures: dict[str, dict[str, str]] = field(default_factory=dict)


def _known(folder: Path, paths: list[str], images: list[str]) -> _Known:
    """What is known of each image; without those images that only are pictures of others."""
    there = set(paths)
    known = _Known(images)
    known.captions = {
        image: _read_text(folder / f"{splitext(image)[0]}.txt").strip()
        for image in images
        if f"{splitext(image)[0]}.txt" in there
    }
    pictured, named = set(images), set()
    for path in paths:
        if path.rsplit("/", 1)[-1] not in _METADATA:
            continue
        described = {normpath(join(dirname(path), name)): row for name, row in _metadata(folder / path)}
        told = [image for image, row in described.items() if row]
        if told and not pictured & {*told}:
            raise InputError(
                f"'{folder / path}' names no image that is there (its first is '{told[0]}'); "
                "its file_name must be relative to its own folder."
            )
        for image, row in described.items():
            if image not in pictured:
                continue
            named.add(image)
            if caption := row.pop("text", None) or row.pop("caption", None):
                known.captions[image] = str(caption)
            for name, value in row.items():
                if name.endswith(_PICTURE) and isinstance(value, str):
                    beside = known.pictures.setdefault(name.removesuffix(_PICTURE), {})
                    beside[image] = normpath(join(dirname(path), value))
                elif name not in ("text", "caption"):
                    known.values.setdefault(name, {})[image] = value
    others = {other for beside in known.pictures.values() for other in beside.values()} - named
    known.images = [image for image in images if image not in others]
    return known


def _metadata(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """The file_name of each line, and whatever else it says."""
    text = _read_text(path)
    if path.suffix == ".csv":
        rows: Iterable[object] = csv.DictReader(StringIO(text, newline=""))
    else:
        rows = (_parse(path, number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
            raise InputError(f"'{path}' must give a file_name for every image, beside its text.")
        said = {name: value for name, value in row.items() if name and value not in (None, "")}
        yield said.pop("file_name"), said


def _parse(path: Path, number: int, line: str) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(
            f"line {number} of '{path}' is not JSON ({error.msg}); each line is one object."
        ) from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the captions in '{path}' cannot be read ({error}); they must be UTF-8 text.") from error
