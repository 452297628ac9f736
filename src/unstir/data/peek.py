"""A quick look at a source: how many images it has and how large they are, from headers alone."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unstir.data.folder import files_in, is_image, signature
from unstir.data.sources import DATASETS, Source

if TYPE_CHECKING:
    from pyarrow import DataType, Schema

    from unstir.data.decode import Encoded

_LOOKED_AT = 200
"""Of how many images the header is read."""


@dataclass(frozen=True)
class Peek:
    """What a look shows.

    Attributes:
        images: How many there are.
        side: The median, in pixels, of the shorter sides of some of them; 0 if none of those can be read.
    """

    images: int
    side: int


def peek(source: Source) -> Peek:
    """Look at a source without decoding or fetching it; arrays are the caller's to look at.

    What cannot be read is passed over here: it is told when the source is loaded.
    """
    if source.kind == "images":
        return _folder(Path(source.place))
    if source.kind == "tables":
        return _tables(Path(source.place))
    known = DATASETS[source.name]
    return Peek(known.images[0], min(known.size[1:]) if known.size else 256)


def _folder(folder: Path) -> Peek:
    paths = [folder / path for files in files_in(folder) for path, _ in files if is_image(path)]
    return Peek(len(paths), _side(paths[:: max(1, len(paths) // _LOOKED_AT)]))


def _tables(folder: Path) -> Peek:
    import pyarrow.parquet as parquet

    from unstir.data.tables import encoded

    rows, looked_at = 0, []
    for name, *_ in signature(folder, [".parquet"]):
        try:
            file = parquet.ParquetFile(folder / name)
            rows += file.metadata.num_rows
            column = _image_column(file.schema_arrow)
            batch = next(file.iter_batches(batch_size=20, columns=[column]), None) if column else None
            looked_at += [] if batch is None else map(encoded, batch.column(0).to_pylist())
        except Exception:  # whatever pyarrow raises on damaged files; told when they are read
            continue
    return Peek(rows, _side(looked_at))


def _image_column(schema: Schema) -> str | None:
    """The column of images, by its name or as one that may hold them."""
    import pyarrow.types as types

    from unstir.data.tables import IMAGE

    def may_hold(kind: DataType) -> bool:
        return types.is_binary(kind) or (types.is_struct(kind) and kind.get_field_index("bytes") >= 0)

    fields = {field.name: field.type for field in schema}
    named = (name for name in IMAGE if name in fields)
    return next(named, None) or next((name for name, kind in fields.items() if may_hold(kind)), None)


def _side(images: Sequence[Encoded]) -> int:
    """The median of the shorter sides of those that can be read; 0 if none can, which decoding tells."""
    from unstir.data.decode import size_of

    sides = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd but readable files
        for image in images:
            with suppress(Exception):  # of a damaged image Pillow raises nearly anything
                sides.append(min(size_of(image)))
    return int(statistics.median(sides)) if sides else 0
