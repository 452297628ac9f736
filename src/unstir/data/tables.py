"""Image data sets as huggingface.co lays them out, from there or from a local folder, through `datasets`.

Columns: the image is ``image`` or ``img`` (otherwise the first that holds images), the label ``label``, ``labels``
or ``fine_label``, the caption ``text`` or ``caption``; others are ignored. The training part is ``train`` (or the
only part there is), the held-out part ``test``, otherwise ``validation``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unstir.data.cache import FULL_DISK
from unstir.data.dataset import label_indices
from unstir.data.decode import Encoded
from unstir.data.listing import Contents, Listing
from unstir.data.sources import Source
from unstir.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_IMAGE, _LABEL, _CAPTION = ("image", "img"), ("label", "labels", "fine_label"), ("text", "caption")
_HELD_OUT = ("test", "validation", "valid", "val")
_PATIENCE = 5.0  # seconds to wait for the hub's first answer


def contents(source: Source, scratch: Path, show: bool) -> Contents:
    """List the images, labels and captions of a data set.

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
    held_out = next((filled[name] for name in _HELD_OUT if name in filled and filled[name] is not train), None)
    both = [train] if held_out is None else [train, held_out]
    labels, classes = _labels(both, source)
    listings = [_listing(part, part_labels, source) for part, part_labels in zip(both, labels)]
    return Contents(listings[0], listings[1] if len(listings) == 2 else None, classes)


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
            raise InputError(
                f"'{source.name}' could not be fetched from huggingface.co ({_first_line(error)}); give --data "
                "FOLDER, a folder of the same layout: parquet files with an image column and, where there are "
                "classes, a label column."
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
    import datasets

    try:
        with _quietly():
            return datasets.load_dataset(source.place, cache_dir=str(scratch))
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


def _column(part: Dataset, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in part.column_names), None)


def _labels(parts: list[Dataset], source: Source) -> tuple[list[np.ndarray | None], tuple[str, ...]]:
    """Each part's labels, int64 (N,) with -1 where there is none, and the class names."""
    column = _column(parts[0], _LABEL)
    if column is None:
        return [None for _ in parts], ()
    values = [part[column][:] if column in part.column_names else [None] * len(part) for part in parts]
    names = getattr(parts[0].features[column], "names", None)
    if names is not None:
        labels = [np.array([-1 if v is None else v for v in part], dtype=np.int64) for part in values]
        if max(int(part.max()) for part in labels) >= len(names):
            raise InputError(f"column '{column}' of '{source.place}' has labels beyond its {len(names)} classes.")
        return list(labels), tuple(names)
    known = [value for part in values for value in part if value is not None]
    if not all(isinstance(value, (int, str)) for value in known) or len({type(v) for v in known}) != 1:
        raise InputError(
            f"column '{column}' of '{source.place}' must hold one integer or one word for each image."
        )
    indices, classes = label_indices(known)
    number = iter(indices.tolist())
    return [
        np.array([-1 if v is None else next(number) for v in part], dtype=np.int64) for part in values
    ], classes


def _listing(part: Dataset, labels: np.ndarray | None, source: Source) -> Listing:
    import datasets

    held = [name for name, feature in part.features.items() if isinstance(feature, datasets.Image)]
    column = _column(part, _IMAGE) or (held[0] if held else None)
    if column is None:
        raise InputError(f"'{source.place}' has no column called image (it has: {', '.join(part.column_names)}).")
    try:
        encoded = part.cast_column(column, datasets.Image(decode=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"column '{column}' of '{source.place}' does not hold images.") from error

    def read(indices: np.ndarray) -> list[Encoded]:
        return [_encoded(cell) for cell in encoded[indices][column]]

    caption = _column(part, _CAPTION)
    captions = [_caption(cell) for cell in part[caption][:]] if caption else []
    name = f"{part.split} image " if part.split else "image "
    return Listing(np.arange(len(part)), read, lambda i: f"{name}{i}", labels, captions if any(captions) else ())


def _encoded(cell: dict[str, Any] | None) -> Encoded:
    """What the decoder takes; an absent image becomes one that cannot be read."""
    if cell is None:
        return b""
    return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"] or "")


def _caption(cell: object) -> str:
    """A caption; the first where an image has several."""
    first = (cell[0] if cell else None) if isinstance(cell, list) else cell
    return "" if first is None else str(first)
