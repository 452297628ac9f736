"""A quick look at a source: how many images it has and how large they are, from headers alone."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unstir.data.folder import files_in, is_image, signature
from unstir.data.metadata import has_pictures
from unstir.data.sources import DATASETS, Source

if TYPE_CHECKING:
    from unstir.data.decode import Encoded

_LOOKED_AT = 200
"""Of how many images the header is read."""


@dataclass(frozen=True)
class Peek:
    """What a look shows.

    Attributes:
        images: How many there are.
        side: The median, in pixels, of the shorter sides of some of them; 0 if none of those can be read.
        pictured: Whether further pictures stand beside them.
    """

    images: int
    side: int
    pictured: bool = False


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


def has_labels(source: Source) -> bool:
    """Whether the images of a source have two classes or more, by what is written of them alone."""
    place = Path(source.place)
    if source.kind == "images":
        from unstir.data.folder import contents

        label = contents(place).train.columns.get("label")
        return label is not None and len(label.classes) > 1
    if source.kind == "array":
        import numpy as np

        from unstir.data.array_file import array, heads

        return any(len(np.unique(array(place, name))) > 1 for name in {"labels", "label"} & heads(place).keys())
    if source.kind == "tables":
        return _labelled_tables(place)
    return DATASETS[source.name].labelled


def _labelled_tables(folder: Path) -> bool:
    import pyarrow.parquet as parquet

    from unstir.data.tables import LABEL

    for name, *_ in signature(folder, [".parquet"]):
        with suppress(Exception):  # what pyarrow raises is told later
            return bool({*LABEL} & {*parquet.read_schema(folder / name).names})
    return False


def _folder(folder: Path) -> Peek:
    files = [path for files in files_in(folder) for path, _ in files]
    paths = [folder / path for path in files if is_image(path)]
    side = _median(_sides(paths[:: max(1, len(paths) // _LOOKED_AT)]))
    return Peek(len(paths), side, has_pictures(folder, files))


def _tables(folder: Path) -> Peek:
    import pyarrow.parquet as parquet

    from unstir.data.tables import encoded, image_column

    rows, looked_at = 0, 0
    sides: list[int] = []
    for name, *_ in signature(folder, [".parquet"]):
        with suppress(Exception), parquet.ParquetFile(folder / name) as file:  # what pyarrow raises is told later
            rows += file.metadata.num_rows
            column = image_column(file.schema_arrow)
            if column and looked_at < _LOOKED_AT:
                cells = next(file.iter_batches(batch_size=20, columns=[column])).column(0).to_pylist()
                looked_at += len(cells)
                sides += _sides(map(encoded, cells))
    return Peek(rows, _median(sides))


def _sides(images: Iterable[Encoded]) -> list[int]:
    """The shorter side of each that can be read; of others decoding tells."""
    from unstir.data.decode import shape_of

    sides = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd but readable files
        for image in images:
            with suppress(Exception):  # of a damaged image Pillow raises nearly anything
                sides.append(min(shape_of(image)[1:]))
    return sides


def _median(sides: list[int]) -> int:
    return int(statistics.median(sides)) if sides else 0
