"""What is said of a picture before it is drawn is what it becomes."""

from __future__ import annotations

import pytest
import torch

from unstir.models.headings import Headings
from unstir.models.layout import columns, grid_size
from unstir.models.samples import Samples
from unstir.models.turns import in_turn


@pytest.mark.parametrize("count", [1, 2, 7, 64, 100, 5000])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 17), (1, 1, 50)])
@pytest.mark.parametrize("classes", [0, 3, 10, 30])
def test_a_picture_is_as_large_as_was_said(count: int, shape: tuple[int, int, int], classes: int) -> None:
    labels, names = torch.arange(count) % classes if classes else None, [str(i) for i in range(classes)]
    rows = in_turn(names, count)
    size = Headings(rows, *shape[1:]).size if rows else grid_size(count, *shape[1:])
    assert Samples(torch.zeros(count, *shape), labels, names).grid().size == size


def test_pictures_are_about_square() -> None:
    assert [columns(n) for n in (1, 2, 64, 5000)] == [1, 1, 8, 71]
    found = [in_turn("0123456789", n) for n in (2, 64, 100, 224, 5000, 20_000)]
    assert [(rows.groups * rows.each, rows.columns) for rows in found if rows] == [
        *((2, 1), (10, 7), (10, 10), (20, 12), (70, 72), (140, 143))
    ]
