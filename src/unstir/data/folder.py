"""A folder of image files: which are images, which of their folders are classes, and where their captions are.

- Hidden files and folders are ignored; links to folders are followed, each folder once.
- If the subfolders directly beneath are named as parts (``train`` with ``test``, ``val``, ``valid`` or
  ``validation``), they are the training and the held-out images; ``test`` goes before the others.
- If every image lies in a subfolder and there are at least two of these, each is a class.
- Captions: ``metadata.jsonl`` or ``metadata.csv`` with ``file_name`` (relative to the file's own folder) and
  ``text`` (or ``caption``), otherwise ``photo.txt`` beside ``photo.jpg``.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator
from io import StringIO
from pathlib import Path
from posixpath import dirname, join, normpath, splitext
from typing import TYPE_CHECKING

from unstir.errors import InputError

if TYPE_CHECKING:
    from unstir.data.listing import Contents, Listing

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_METADATA = ("metadata.jsonl", "metadata.csv")
_HELD_OUT_FOLDERS = ("test", "validation", "valid", "val")


def walk(folder: Path) -> Iterator[list[tuple[str, os.DirEntry[str]]]]:
    """Each folder's files, the topmost first, sorted by name: (path relative to ``folder`` with ``/``, entry).

    Raises:
        InputError: for a folder that cannot be listed.
    """
    waiting, seen = [("", os.fspath(folder))], set()
    while waiting:
        prefix, path = waiting.pop()
        try:
            status = os.stat(path)
            with os.scandir(path) as found:
                entries = sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            raise InputError(
                f"the folder '{path}' cannot be read ({error.strerror}); make it readable or give another."
            ) from error
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        yield [(prefix + e.name, e) for e in entries if e.is_file()]
        waiting += [(f"{prefix}{e.name}/", e.path) for e in reversed(entries) if e.is_dir()]


def signature(folder: Path, suffixes: Iterable[str]) -> list[tuple[str, int, int]]:
    """(relative path, bytes, modification time in ns) of every file that ends so, which tells a changed folder."""
    endings = tuple(suffixes)
    return [
        (path, entry.stat().st_size, entry.stat().st_mtime_ns)
        for files in walk(folder)
        for path, entry in files
        if path.lower().endswith(endings)
    ]


def is_image(path: str) -> bool:
    """Whether a file's name ends as an image's."""
    return path.lower().endswith(IMAGE_SUFFIXES)


def contents(folder: Path) -> Contents:
    """List the images of a folder, their classes and captions.

    Raises:
        InputError: for a folder that cannot be listed, or a caption file that cannot be understood.
    """
    from unstir.data.listing import Contents

    paths = [path for files in walk(folder) for path, _ in files]
    images = [path for path in paths if is_image(path)]
    captions = _captions(folder, paths, images)
    train, held_out = _parts(images)
    # Within a part, the classes are the folders beneath it.
    tops = {path: path[len(prefix) :].split("/")[0] for prefix, part in (train, held_out) for path in part}
    nested = all("/" in path[len(prefix) :] for prefix, part in (train, held_out) for path in part)
    classes = tuple(sorted(set(tops.values()))) if nested else ()
    if len(classes) < 2:
        classes = ()
    number = {name: index for index, name in enumerate(classes)}
    labels = {path: number[tops[path]] for path in tops} if classes else {}
    return Contents(
        _listing(folder, train[1], labels, captions),
        _listing(folder, held_out[1], labels, captions) if held_out[1] else None,
        classes,
    )


def _parts(images: list[str]) -> tuple[tuple[str, list[str]], tuple[str, list[str]]]:
    """(prefix, images) of the training and of the held-out part; the latter may be empty."""
    tops = {path.split("/")[0] if "/" in path else "" for path in images}
    if "train" not in tops or not tops <= {"train", *_HELD_OUT_FOLDERS}:
        return ("", images), ("", [])
    other = next((f"{name}/" for name in _HELD_OUT_FOLDERS if name in tops), "")
    held_out = [path for path in images if other and path.startswith(other)]
    return ("train/", [path for path in images if path.startswith("train/")]), (other, held_out)


def _listing(folder: Path, paths: list[str], labels: dict[str, int], captions: dict[str, str]) -> Listing:
    import numpy as np

    from unstir.data.listing import Listing

    return Listing(
        indices=np.arange(len(paths)),
        read=lambda indices: [folder / paths[i] for i in indices],
        name=lambda index: paths[index],
        labels=np.array([labels[path] for path in paths], dtype=np.int64) if labels else None,
        captions=[captions.get(path, "") for path in paths] if captions else (),
    )


def _captions(folder: Path, paths: list[str], images: list[str]) -> dict[str, str]:
    """Caption of each image that has one."""
    known = set(paths)
    captions = {
        image: _read_text(folder / f"{splitext(image)[0]}.txt").strip()
        for image in images
        if f"{splitext(image)[0]}.txt" in known
    }
    pictured = set(images)
    for path in paths:
        if path.rsplit("/", 1)[-1] not in _METADATA:
            continue
        described = {normpath(join(dirname(path), name)): text for name, text in _metadata(folder / path) if text}
        if described and not pictured & described.keys():
            raise InputError(
                f"'{folder / path}' names no image that is there (its first is '{next(iter(described))}'); "
                "its file_name must be relative to its own folder."
            )
        captions.update((image, text) for image, text in described.items() if image in pictured)
    return captions


def _metadata(path: Path) -> Iterator[tuple[str, str]]:
    """(file_name, caption) of each line; the caption is "" where the file has none."""
    text = _read_text(path)
    if path.suffix == ".csv":
        rows: Iterable[object] = csv.DictReader(StringIO(text, newline=""))
    else:
        rows = (_parse(path, number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
            raise InputError(f"'{path}' must give a file_name for every image, beside its text.")
        yield row["file_name"], str(row.get("text") or row.get("caption") or "")


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
