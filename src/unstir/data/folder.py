"""A folder of image files: which are images, which of their folders are classes, and where their captions are.

- Hidden files and folders are ignored, and so are the folders of runs; links to folders are followed, each folder
  once.
- Folders that hold all images and nothing but one folder, as an unpacked archive has, are gone through.
- If the subfolders there are named as parts (``train`` or ``training`` with ``test``, ``testing``, ``val``,
  ``valid`` or ``validation``, in letters of any size), they are the training and the held-out images; ``test``
  goes before the others. Images beside them are left out if they are the fewer.
- If most images, of the training part where there are parts, lie in at least two subfolders, each is a class, and
  images beside them are left out.
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
from posixpath import commonpath, dirname, splitext
from typing import TYPE_CHECKING, NamedTuple

from unstir.data.metadata import known as what_is_known
from unstir.errors import InputError, counted, printable

if TYPE_CHECKING:
    from unstir.data.columns import Column
    from unstir.data.listing import Contents, Listing, Read

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".jpe")
IMAGE_SUFFIXES = (".png", *JPEG_SUFFIXES, ".webp", ".bmp", ".gif", ".tif", ".tiff")
_OTHER_PICTURES = frozenset(
    ".apng .arw .avif .cr2 .cr3 .dng .eps .exr .hdr .heic .heif .ico .j2k .jp2 .jpf .jpx .jxl .nef .orf "  # noqa: SIM905
    ".pbm .pcx .pgm .pnm .ppm .psd .qoi .raf .rw2 .svg .tga .xcf".split()
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
    train, held_out, folders, said = _layout(known.images)
    images = train + held_out
    columns: dict[str, Column] = {}
    if folders:
        classes = tuple(sorted({*folders.values()} - {""}))
        number = {"": -1} | {name: index for index, name in enumerate(classes)}
        columns["label"] = _classes([number[folders[path]] for path in images], classes)
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
            *said,
            *([f"{counted(known.unmatched, 'line')} of metadata name no image there"] if known.unmatched else []),
            *_said_of_files(paths, unreadable),
        ]
    )
    if not held_out:
        return Contents(whole, None, note)
    places = np.arange(len(images))
    return Contents(whole.take(places[: len(train)]), whole.take(places[len(train) :]), note)


class _Layout(NamedTuple):
    """What a folder's subfolders are.

    Attributes:
        train: the images to train on, or all.
        held_out: those of a part for testing; none if there is no such part.
        folders: by image the folder that is its class, "" where it lies in none; empty if folders are no classes.
        said: what was decided.
    """

    train: list[str]
    held_out: list[str]
    folders: dict[str, str]
    said: list[str]


def _layout(images: list[str]) -> _Layout:
    """Which folders are parts and which classes, as the module says."""
    shared = commonpath(map(dirname, images)) if images else ""
    inner = {path: path[len(shared) + 1 :] if shared else path for path in images}
    parts: dict[str, list[str]] = {}
    for path in images:
        parts.setdefault(_PARTS.get(_top(inner[path]).casefold(), ""), []).append(path)
    train, beside = parts.get("train", []), parts.get("", [])
    held_out = parts.get("test") or parts.get("validation") or []
    # Folders beside one called train alone may be classes as it may.
    many = len(beside) >= len(train) + len(held_out) or (
        not held_out and any(_top(inner[path]) for path in beside)
    )
    said = []
    if train and not many:
        tops = sorted({_top(inner[path]) for path in train + held_out})
        said += [f"{' and '.join(tops)} are its parts" if held_out else f"{tops[0]} is what to train on"]
        unused = (paths for part, paths in parts.items() if part and paths not in (train, held_out))
        others = sorted({_top(inner[path]) for paths in unused for path in paths})
        said += [f"{_few(others)} {_is(others)} left out"] if others else []
        said += [f"{counted(len(beside), 'image')} beside them left out"] if beside else []
        inner = {path: inner[path].split("/", 1)[1] for path in train + held_out}
    else:
        named = {name for path in inner.values() for name in dirname(path).split("/") if name.casefold() in _PARTS}
        if len({_PARTS[name.casefold()] == "train" for name in named}) == 2:
            said += [f"folders called {' and '.join(sorted(named))} are there, but not taken as its parts"]
        train, held_out = images, []
    return _with_classes(train, held_out, inner, said)


def _with_classes(train: list[str], held_out: list[str], inner: dict[str, str], said: list[str]) -> _Layout:
    """Of each part the images in folders, if these are classes; ``inner``: their paths within their part."""
    nested = [path for path in train if _top(inner[path])]
    classes = sorted({_top(inner[path]) for path in nested})
    if len(classes) < 2:
        return _Layout(train, held_out, {}, said)
    stray = len(train) - len(nested)
    if stray >= len(nested):
        why = f"as many images or more, {stray:,}, lie beside them"
        return _Layout(train, held_out, {}, [*said, f"{_few(classes)} are not taken as classes ({why})"])
    tested = [path for path in held_out if _top(inner[path])]
    if 2 * len(tested) <= len(held_out):  # of a part for testing the classes may be unknown
        tested = held_out
    stray += len(held_out) - len(tested)
    said = [*said, f"its folders are the classes {_few(classes)}"]
    said += [f"{counted(stray, 'image')} beside them left out"] if stray else []
    return _Layout(nested, tested, {path: _top(inner[path]) for path in nested + tested}, said)


def _top(path: str) -> str:
    """The folder that a path begins with; "" if it is but a file."""
    return path.split("/")[0] if "/" in path else ""


def _said_of_files(paths: list[str], unreadable: list[str]) -> list[str]:
    other = Counter(ending for path in paths if (ending := splitext(path)[1].lower()) in _OTHER_PICTURES)
    counts = [counted(count, f"{ending} file") for ending, count in other.most_common()]
    said = [f"{', '.join(counts)} passed over"] if counts else []
    return said + ([f"{_few(unreadable)} cannot be read and {_is(unreadable)} passed over"] if unreadable else [])


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


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
