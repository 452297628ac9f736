"""The images lie where their headings stand, whole and in order, and no writing is lost at an edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unstir.models.headings import Headings
from unstir.models.samples import Samples
from unstir.models.table import Table
from unstir.models.written import Written


def axis(name: str, *texts: str) -> Written:
    return Written(name, texts, tuple(range(len(texts))))


LONG = "a name of a class that is so long that nobody would read it to its end, and that still goes on"
TABLES = [
    Table([axis("angle", "0", "45", "90")], 1),
    Table([axis("angle", "0", "45", "90")], 3),
    Table([axis("angle", "-12.25", "4"), axis("colour", "red", "blue", "green")], 1),
    Table([axis("angle", "1e-05", "4"), axis("colour", "red", "Egyptian cat")], 3),
    Table([axis("angle", "x" * 500, LONG), axis("colour", LONG, "y" * 300)], 1),
    Table([axis("a very long name of a column of numbers", "0", "1"), axis("b" * 90, "2", "3")], 2),
]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (4, 60), (60, 4), (100, 90)], ids=str)
def test_images_lie_whole_in_columns_and_rows(table: Table, shape: tuple[int, int]) -> None:
    # Image i is of one colour, (i, 0, 0), as no letter is.
    tensor = -torch.ones(len(table), 3, *shape)
    tensor[:, 0] += ((torch.arange(len(table)) + 1) / 127.5).view(-1, 1, 1)
    headings = Headings(table, *shape)
    whole = headings.around(Samples(tensor).grid(table.columns))
    assert whole.size == headings.size
    pixels = np.asarray(whole).astype(int)
    factor = max(1, round(64 / max(shape)))
    lefts, tops = np.zeros((2, table.groups * table.each, table.columns), dtype=int)
    for i in range(len(table)):
        ys, xs = np.nonzero((pixels == (i + 1, 0, 0)).all(-1))
        assert len(ys) == shape[0] * shape[1] * factor**2
        assert (np.ptp(ys) + 1, np.ptp(xs) + 1) == (shape[0] * factor, shape[1] * factor)
        lefts.flat[i], tops.flat[i] = xs.min(), ys.min()
    assert (lefts == lefts[0]).all() and (np.diff(lefts[0]) >= shape[1] * factor + 2).all()
    assert (tops == tops[:, :1]).all() and (np.diff(tops[:, 0]) >= shape[0] * factor + 2).all()


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (60, 4)], ids=str)
def test_columns_are_as_wide_as_their_longest_word(shape: tuple[int, int]) -> None:
    words = ("automobile", "-1.2345e-05", "écureuil", "Кошка", "a great white shark")
    headings = Headings(Table([axis("label", *words)], 1), *shape)
    texts = [block.text for block in headings._above]
    assert [text.replace("\n", " ") for text in texts] == [*words]
    assert texts[4].count("\n") >= 1


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("shape", [(8, 8), (4, 60), (60, 4)], ids=str)
def test_no_writing_touches_an_edge_or_an_image(table: Table, shape: tuple[int, int]) -> None:
    headings = Headings(table, *shape)
    # White images: all that is dark is writing.
    blank = Samples(torch.ones(len(table), 1, *shape)).grid(table.columns)
    written = np.asarray(headings.around(blank)) < 250
    assert written.any()
    assert not (written[:2].any() or written[-2:].any() or written[:, :2].any() or written[:, -2:].any())
    black = Samples(-torch.ones(len(table), 1, *shape)).grid(table.columns)
    images = np.asarray(headings.around(black)) < 250
    # Drawn over black images the same letters are left: none lay on an image.
    factor = round(64 / max(shape))
    assert images.sum() == written.sum() + len(table) * shape[0] * shape[1] * factor**2
