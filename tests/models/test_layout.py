"""What is said of a picture before it is drawn is what it becomes."""

from __future__ import annotations

import pytest
import torch

from unstir.models.layout import columns, grid_size
from unstir.models.samples import Samples


@pytest.mark.parametrize("count", [1, 2, 7, 64, 100, 5000])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 17), (1, 1, 50)])
@pytest.mark.parametrize("classes", [0, 3, 10, 30])
def test_a_picture_is_as_large_as_was_said(count: int, shape: tuple[int, int, int], classes: int) -> None:
    labels = torch.arange(count) % classes if classes else None
    samples = Samples(torch.zeros(count, *shape), labels, [str(i) for i in range(classes)])
    width, height = grid_size(count, *shape[1:], classes)
    assert samples.grid().size == (width, height)
    if classes <= 20:
        assert classes == 0 or columns(count, classes) % classes == 0


def test_pictures_are_about_square() -> None:
    assert [columns(n, 10) for n in (1, 64, 100, 200, 224, 5000, 20_000)] == [10, 10, 10, 10, 20, 70, 140]
    assert [columns(n) for n in (1, 2, 64, 5000)] == [1, 1, 8, 71]
    width, height = grid_size(5000, 8, 8, 10)
    assert (width, height) == (4622, 4754)
