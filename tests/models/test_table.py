"""Every combination is drawn once for each seed, and only what is told differs within a row."""

from __future__ import annotations

from itertools import product

import pytest

from unstir.errors import InputError
from unstir.models.table import Table
from unstir.models.written import Written

ANGLE = Written("angle", ("0", "4.5", "9"), ((0.0,), (4.5,), (9.0,)))
LABEL = Written("label", ("b", "a"), (1, 0))
SIZE = Written("size", ("7",), ((7.0,),))


@pytest.mark.parametrize("each", [1, 4])
def test_every_combination_has_every_seed_once(each: int) -> None:
    table = Table([SIZE, ANGLE, LABEL], each)
    assert (table.across, table.down) == (ANGLE, LABEL)
    seeds, across, down = table.seeds(10), table.values(ANGLE), table.values(LABEL)
    assert len(seeds) == len(table) == 6 * each
    every = product(range(10, 10 + each), range(3), range(2))
    assert sorted(zip(seeds, across, down)) == sorted(every)
    for row in range(2 * each):
        cells = slice(3 * row, 3 * row + 3)
        assert seeds[cells] == [10 + row % each] * 3
        assert across[cells] == [0, 1, 2]
        assert down[cells] == [row // each] * 3
    assert table.values(SIZE) == [0] * len(table)


def test_tensors_have_a_row_for_each_image_or_one_for_all() -> None:
    tensors = Table([LABEL, SIZE, ANGLE], 1).tensors()
    assert tensors.keys() == {"size", "angle"}  # the label has an argument of its own
    assert tensors["size"].tolist() == [[7.0]]
    assert tensors["angle"].flatten().tolist() == [0, 0, 4.5, 4.5, 9, 9]


def test_without_several_values_images_are_as_ever() -> None:
    table = Table([SIZE], 5)
    assert (table.across, table.down, len(table)) == (None, None, 5)
    assert table.seeds(3) == [3, 4, 5, 6, 7]
    assert [table.sample(i) for i in range(5)] == [0, 1, 2, 3, 4]


def test_names_and_texts_say_what_is_told() -> None:
    table = Table([SIZE, ANGLE, LABEL], 1)
    assert [table.named(i) for i in (0, 1, 5)] == ["-size=7-angle=0", "-size=7-angle=4.5", "-size=7-angle=9"]
    assert table.texts == {"size": ["7"] * 6, "angle": ["0", "4.5", "9"] * 2}


def test_what_a_grid_has_no_room_for_is_refused() -> None:
    third = Written("third", ("1", "2"), ((1.0,), (2.0,)))
    with pytest.raises(InputError, match="columns and rows, and angle, label, third have several values each"):
        Table([ANGLE, LABEL, third], 1)
    with pytest.raises(InputError, match="'size' is told twice"):
        Table([SIZE, SIZE], 1)
