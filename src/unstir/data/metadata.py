"""What text files and ``metadata`` files say of the images of a folder: captions, values, further pictures.

Names are matched as they are written, otherwise as Unicode holds them equal: an accent may be a letter's own, as
most keyboards give it, or a sign after the letter, as some systems store it in names.
"""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from posixpath import dirname, join, normpath, splitext

from unstir.errors import InputError

_METADATA = ("metadata.jsonl", "metadata.csv")
_PICTURE = "_file_name"


@dataclass
class Known:
    """What text and metadata files say, by image; of the columns of metadata, first by name.

    Attributes:
        images: those that are not only pictures of others.
        captions: by image.
        values: by column and image.
        pictures: the paths of further pictures, by column and image.
        unmatched: how many lines of metadata name no image that is there.
    """

    images: list[str]
    captions: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, object]] = field(default_factory=dict)
    pictures: dict[str, dict[str, str]] = field(default_factory=dict)
    unmatched: int = 0


def known(folder: Path, paths: list[str], images: list[str]) -> Known:
    """What is known of each image.

    Args:
        folder: that of all.
        paths: of all files in it, relative to it.
        images: those of them that are images.

    Raises:
        InputError: for a file of captions that cannot be understood.
    """
    there = _Spellings(paths)
    known = Known(images)
    for image in images:
        text = there.find(f"{splitext(image)[0]}.txt")
        if text is not None:
            known.captions[image] = _read_text(folder / text).strip()
    pictured, named = set(images), set()
    for path in paths:
        if path.rsplit("/", 1)[-1] not in _METADATA:
            continue
        described = {}
        for name, row in _metadata(folder / path):
            given = normpath(join(dirname(path), name))
            described[there.find(given) or given] = row
        told = [image for image, row in described.items() if row]
        if told and not pictured & {*told}:
            raise InputError(
                f"'{folder / path}' names no image that is there (its first is '{told[0]}'); "
                "its file_name must be relative to its own folder."
            )
        for image, row in described.items():
            if image not in pictured:
                known.unmatched += 1
                continue
            named.add(image)
            if caption := row.pop("text", None) or row.pop("caption", None):
                known.captions[image] = str(caption)
            for name, value in row.items():
                if name.endswith(_PICTURE) and isinstance(value, str):
                    beside = normpath(join(dirname(path), value))
                    of_this_name = known.pictures.setdefault(name.removesuffix(_PICTURE), {})
                    of_this_name[image] = there.find(beside) or beside
                elif name not in ("text", "caption"):
                    known.values.setdefault(name, {})[image] = value
    others = {other for beside in known.pictures.values() for other in beside.values()} - named
    known.images = [image for image in images if image not in others]
    return known


def has_pictures(folder: Path, paths: Iterable[str]) -> bool:
    """Whether the first line of a metadata file among ``paths`` names a further picture."""
    described = (folder / path for path in paths if path.rsplit("/", 1)[-1] in _METADATA)
    return any(_PICTURE in _read_text(path).split("\n", 1)[0] for path in described)


class _Spellings:
    """Paths, to be found by any spelling that Unicode holds equal.

    Args:
        paths: those that are there.
    """

    def __init__(self, paths: list[str]) -> None:
        self.paths = set(paths)
        self.composed = {unicodedata.normalize("NFC", path): path for path in paths}

    def find(self, path: str) -> str | None:
        """The path as it is there; None if it is not."""
        return path if path in self.paths else self.composed.get(unicodedata.normalize("NFC", path))


def _metadata(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """The file_name of each line, and whatever else it says."""
    text = _read_text(path)
    rows: Iterable[object]
    if path.suffix == ".csv":
        rows = _rows(path, text)
    else:
        rows = (_parse(path, number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
            raise InputError(f"'{path}' must give a file_name for every image, beside its text.")
        said = {name: value for name, value in row.items() if name and value not in (None, "")}
        yield said.pop("file_name"), said


def _rows(path: Path, text: str) -> Iterator[dict[str, str]]:
    """The rows of a CSV file, of which a caption may be of any length."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.DictReader(StringIO(text, newline=""), strict=True)
    began = 1
    try:
        for row in reader:
            if None in row:
                raise InputError(
                    f"line {reader.line_num} of '{path}' has more values than there are names in the first; a "
                    "text with a comma is written in quotes."
                )
            yield row
            began = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"'{path}' cannot be read from line {began} on ({error}); every quote that opens must close, and one "
            "within a text is written twice."
        ) from error


def _parse(path: Path, number: int, line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        why = getattr(error, "msg", None) or error
        raise InputError(f"line {number} of '{path}' is not JSON ({why}); each line is one object.") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the captions in '{path}' cannot be read ({error}); they must be UTF-8 text.") from error
