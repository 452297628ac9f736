"""A quick look at a source: how many images it has and how large they are, from headers alone."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from unstir.data.folder import files_in, is_image
from unstir.data.sources import DATASETS, Source

_LOOKED_AT = 200
"""Of how many images the header is read."""


@dataclass(frozen=True)
class Peek:
    """What a look shows.

    Attributes:
        images: How many there are.
        side: The median, in pixels, of the shorter sides of some of them.
    """

    images: int
    side: int


def peek(source: Source) -> Peek:
    """Look at a source without decoding or fetching it; arrays are the caller's to look at."""
    if source.kind == "images":
        return _folder(Path(source.place))
    if source.kind == "tables":
        return _tables(Path(source.place))
    known = DATASETS[source.name]
    return Peek(known.images[0], min(known.size[1:]) if known.size else 256)


def _folder(folder: Path) -> Peek:
    from PIL import Image, UnidentifiedImageError

    paths = [folder / path for files in files_in(folder) for path, _ in files if is_image(path)]
    sides = []
    for path in paths[:: max(1, len(paths) // _LOOKED_AT)]:
        try:
            with Image.open(path) as image:
                sides.append(min(image.size))
        except (OSError, UnidentifiedImageError):  # named and counted when the images are decoded
            continue
    return Peek(len(paths), int(statistics.median(sides)) if sides else 0)


def _tables(folder: Path) -> Peek:
    import pyarrow.parquet as parquet
    from PIL import Image

    rows, sides = 0, []
    for path in sorted(folder.rglob("*.parquet")):
        file = parquet.ParquetFile(path)
        rows += file.metadata.num_rows
        column = next(name for name in ("image", "img") if name in file.schema_arrow.names)
        first = next(file.iter_batches(batch_size=20, columns=[column]))
        for row in first.to_pylist():
            with Image.open(BytesIO(row[column]["bytes"])) as image:
                sides.append(min(image.size))
    return Peek(rows, int(statistics.median(sides)))
