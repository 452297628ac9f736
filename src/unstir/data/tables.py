"""Image data sets as huggingface.co lays them out, from there or from a local folder, through `datasets`.

Columns: the image is ``image`` or ``img`` (otherwise the first that holds images), the label ``label``, ``labels``
or ``fine_label``, the caption ``text`` or ``caption``. Others go with each image under their own names: those of
further images, numbers, declared classes, and words of which at most 100 differ. The training part is ``train``
(or the only part there is), the held-out part ``test``, otherwise ``validation``, but for one whose labels are all
kept back (-1).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unstir.data.columns import WORDS, Column, floats, numbered
from unstir.data.decode import Encoded
from unstir.data.entries import FULL_DISK
from unstir.data.folder import signature
from unstir.data.listing import Contents, Listing, Read
from unstir.data.sources import TABLE_SUFFIXES, Source
from unstir.errors import InputError, printable

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset, DatasetDict

_IMAGE, LABEL, _CAPTION = ("image", "img"), ("label", "labels", "fine_label"), ("text", "caption")
_POINTER = b"version https://git-lfs"
_HELD_OUT = ("test", "validation", "valid", "val")
_PATIENCE = 5.0  # seconds to wait for the hub's first answer

_log = logging.getLogger(__name__)


def contents(source: Source, scratch: Path, show: bool) -> Contents:
    """List the images of a data set and what is known of them.

    Args:
        source: of kind ``hub`` or ``tables``.
        scratch: a folder for what reading local tables leaves behind; needed until the images have been read.
        show: whether `datasets` may show its progress bars.

    Raises:
        InputError: if it cannot be fetched or read, has no part to train on, or no column of images.
    """
    import datasets

    if not show:
        datasets.disable_progress_bars()
    parts = _fetch(source) if source.kind == "hub" else _read(source, scratch)
    filled = {name: part for name, part in parts.items() if len(part)}
    train = filled.get("train") or (next(iter(filled.values())) if len(filled) == 1 else None)
    if train is None:
        raise InputError(f"'{source.place}' has no part called train (it has: {', '.join(parts) or 'none'}).")
    others = [filled[name] for name in _HELD_OUT if name in filled and filled[name] is not train]
    held_out = next((part for part in others if not _labels_kept_back(part)), None)
    both = [train] if held_out is None else [train, held_out]
    columns = _columns(both, source)
    pictures = _pictures(both, {*columns[0]}, source)
    listings = [_listing(part, known, pictures, source) for part, known in zip(both, columns)]
    parts_left = [name for name, part in filled.items() if all(part is not other for other in both)]
    taken = {_image(train), _named(train, LABEL), _named(train, _CAPTION), *columns[0]}
    columns_left = [name for name in train.column_names if name not in taken and not _is_image(train, name)]
    left = (("part", parts_left), ("column", columns_left))
    note = "; ".join(f"{_listed(names, noun)} left out" for noun, names in left if names)
    return Contents(listings[0], listings[1] if len(listings) == 2 else None, note)


def _labels_kept_back(part: Dataset) -> bool:
    """Whether all labels are negative: those of the test part of a contest, such as ImageNet's."""
    import pyarrow
    import pyarrow.compute

    name = _named(part, LABEL)
    cells = None if name is None else _cells(part, name)
    if cells is None or not pyarrow.types.is_signed_integer(cells.type):
        return False
    most = pyarrow.compute.max(cells).as_py()
    return most is not None and most < 0


def _listed(names: list[str], noun: str) -> str:
    return f"its {noun} {names[0]} is" if len(names) == 1 else f"its {noun}s {', '.join(names)} are"


def _fetch(source: Source) -> DatasetDict:
    """Fetch a data set, or take the copy that was fetched before; says within seconds that there is neither."""
    import datasets
    from huggingface_hub import HfApi

    try:
        HfApi(endpoint=datasets.config.HF_ENDPOINT).dataset_info(source.place, timeout=_PATIENCE)
        with _quietly():
            return datasets.load_dataset(source.place)
    except Exception as error:  # of the network stack, whichever this version of huggingface_hub uses
        try:
            with _quietly(), _offline():
                return datasets.load_dataset(source.place)
        except Exception:
            beside = f", or --data ./{source.name} for the folder of that name" if source.note else ""
            raise InputError(
                f"'{source.name}' could not be fetched from huggingface.co ({_first_line(error)}); give --data "
                "FOLDER, a folder of the same layout: parquet files with an image column and, where there are "
                f"classes, a label column{beside}."
            ) from error


@contextmanager
def _offline() -> Iterator[None]:
    """Keep `datasets` from asking the hub, five times with pauses, for what it has just not answered."""
    from datasets import config

    before, config.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the libraries' notes on retries and README files off the screen; what matters is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _read(source: Source, scratch: Path) -> DatasetDict:
    """Read the tables of a folder, without what else is in it, such as a run's pictures."""
    import datasets

    folder = scratch / "tables"
    for name, *_ in signature(Path(source.place), TABLE_SUFFIXES):
        path, place = Path(source.place, name), folder / printable(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
        if path.stat().st_size < 1000 and path.read_bytes().startswith(_POINTER):
            raise InputError(f"'{path}' only points to a table that is not there; fetch it with git lfs pull.")
    try:
        with _quietly():
            return datasets.load_dataset(str(folder), cache_dir=str(scratch / "cache"))
    except Exception as error:  # whatever `datasets` and pyarrow raise on damaged or foreign files
        cause = error.__cause__ or error
        if isinstance(cause, OSError) and cause.errno in FULL_DISK:
            raise cause from None
        raise InputError(
            f"the tables in '{source.place}' cannot be read ({_first_line(cause)}); they must be parquet "
            "files of one data set with an image column, as on huggingface.co."
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".")


def _is_image(part: Dataset, name: str) -> bool:
    import datasets

    return isinstance(part.features[name], datasets.Image)


def image_column(schema: pyarrow.Schema) -> str | None:
    """The column of the images themselves: by its name, or the first in which files lie as bytes."""
    import pyarrow.types as types

    named = next((name for name in _IMAGE if name in schema.names), None)
    holds = (
        each.name for each in schema if types.is_struct(each.type) and each.type.get_field_index("bytes") >= 0
    )
    return named or next(holds, None)


def _image(part: Dataset) -> str | None:
    return image_column(part.features.arrow_schema)


def _named(part: Dataset, names: tuple[str, ...]) -> str | None:
    """The first of these columns that is there and holds no images."""
    return next((name for name in names if name in part.column_names and not _is_image(part, name)), None)


def _columns(parts: list[Dataset], source: Source) -> list[dict[str, Column]]:
    """All that is known of each part's images but further pictures, by name, some of it missing for some."""
    import datasets

    found: list[dict[str, Column]] = [{} for _ in parts]

    def add(name: str, columns: list[Column]) -> None:
        for known, column in zip(found, columns):
            known[name] = column

    label, caption = _named(parts[0], LABEL), [_named(part, _CAPTION) for part in parts]
    if label is not None:
        add("label", _classes(parts, label, source))
    texts = [_captions(part, name) for part, name in zip(parts, caption)]
    if any(map(any, texts)):
        add("caption", [Column("text", text) for text in texts])
    for name, feature in parts[0].features.items():
        if name in (label, *caption, _image(parts[0])) or name in found[0]:
            continue
        if isinstance(feature, datasets.ClassLabel):
            add(name, _classes(parts, name, source))
        elif isinstance(feature, datasets.Value) and "string" in feature.dtype:
            if _few_words([_cells(part, name) for part in parts]):
                add(name, _classes(parts, name, source))
        elif isinstance(feature, datasets.Value) and feature.dtype.startswith(("int", "uint", "float", "bool")):
            add(name, [_numbers(part, name) for part in parts])
    return found


def _cells(part: Dataset, name: str) -> pyarrow.ChunkedArray | None:
    """A column as it is stored; None if this part has none of that name."""
    if name not in part.column_names:
        return None
    return part.select_columns([name]).with_format("arrow")[:].column(name)


def _few_words(columns: list[pyarrow.ChunkedArray | None]) -> bool:
    words: set[str] = set()
    for chunk in (chunk for column in columns if column is not None for chunk in column.chunks):
        words.update(chunk.unique().drop_null().to_pylist())
        if len(words) > WORDS:
            return False
    return bool(words)


def _numbers(part: Dataset, name: str) -> Column:
    import pyarrow as pa

    cells = _cells(part, name)
    if cells is None:
        return Column("numbers", np.full((len(part), 1), np.nan, np.float32))
    return Column("numbers", floats(cells.cast(pa.float32(), safe=False).to_numpy()))


def _classes(parts: list[Dataset], name: str, source: Source) -> list[Column]:
    """Each part's classes, -1 where there is none, with names common to all."""
    cells = [_cells(part, name) for part in parts]
    values = [[None] * len(part) if cell is None else cell.to_pylist() for part, cell in zip(parts, cells)]
    names = getattr(parts[0].features[name], "names", None)
    if names is not None:
        labels = [np.array([-1 if v is None else v for v in part], dtype=np.int64) for part in values]
        if max(int(part.max()) for part in labels) >= len(names):
            raise InputError(f"column '{name}' of '{source.place}' has labels beyond its {len(names)} classes.")
        return [Column("classes", part, tuple(names)) for part in labels]
    known = [value for part in values for value in part if value is not None]
    if not all(isinstance(value, (int, str)) for value in known) or len({type(v) for v in known}) != 1:
        raise InputError(f"column '{name}' of '{source.place}' must hold one integer or one word for each image.")
    indices, classes = numbered(known)
    number = iter(indices.tolist())
    return [
        Column("classes", np.array([-1 if v is None else next(number) for v in part], dtype=np.int64), classes)
        for part in values
    ]


def _captions(part: Dataset, name: str | None) -> tuple[str, ...]:
    """A caption for each image, "" where there is none."""
    return tuple(map(_caption, part[name][:])) if name else ("",) * len(part)


def _pictures(parts: list[Dataset], taken: set[str], source: Source) -> list[str]:
    """The columns of images, beside the images themselves, that every image has."""
    found = []
    for name in parts[0].column_names:
        if name in taken or name == _image(parts[0]) or not _is_image(parts[0], name):
            continue
        cells = [_cells(part, name) for part in parts]
        missing = sum(len(part) if cell is None else cell.null_count for part, cell in zip(parts, cells))
        if missing:
            _log.warning("%d images of '%s' have no %s, which is left out", missing, source.name, name)
        else:
            found.append(name)
    return found


def _listing(part: Dataset, columns: dict[str, Column], pictures: list[str], source: Source) -> Listing:
    image = _image(part)
    if image is None:
        raise InputError(f"'{source.place}' has no column called image (it has: {', '.join(part.column_names)}).")
    name = f"{part.split} image " if part.split else "image "
    readers = {picture: _reader(part, picture, source) for picture in pictures}
    return Listing(
        np.arange(len(part)), _reader(part, image, source), lambda i: f"{name}{i}", columns, pictures=readers
    )


def _reader(part: Dataset, column: str, source: Source) -> Read:
    import datasets

    try:
        cells = part.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    except (TypeError, ValueError, NotImplementedError) as error:  # the last of pyarrow
        raise InputError(f"column '{column}' of '{source.place}' does not hold images.") from error
    return lambda indices: [encoded(cell) for cell in cells[indices][column]]


def encoded(cell: object) -> Encoded:
    """What the decoder takes of a cell; what holds no image becomes one that cannot be read."""
    if isinstance(cell, bytes):
        return cell
    if not isinstance(cell, dict):
        return b""
    path = cell.get("path")
    return cell.get("bytes") or (Path(path) if path else b"")


def _caption(cell: object) -> str:
    """A caption; the first where an image has several."""
    first = (cell[0] if cell else None) if isinstance(cell, list) else cell
    return "" if first is None else str(first)
