"""What is worth saying of images that are brought to one shape, at the edges of what is."""

from __future__ import annotations

import numpy as np
import pytest

from unstir.data.config import DataConfig
from unstir.data.decode import Decoded
from unstir.data.fitted import Fitted


@pytest.mark.parametrize(
    ("size", "own", "fit", "cut", "enlarged"),
    [
        ((64, 64), (300, 400), "crop", 0, 0),  # just a quarter
        ((64, 64), (300, 401), "crop", 1, 0),
        ((64, 64), (401, 300), "crop", 1, 0),
        ((64, 64), (300, 401), "pad", 0, 0),
        ((30, 40), (300, 400), "crop", 0, 0),
        ((40, 30), (300, 400), "crop", 1, 0),
        ((50, 50), (40, 40), "crop", 0, 0),  # just by a quarter
        ((51, 51), (40, 40), "crop", 0, 1),
        ((51, 51), (40, 80), "crop", 1, 1),  # its shorter side grows
        ((51, 51), (40, 80), "pad", 0, 0),
        ((51, 51), (40, 40), "pad", 0, 1),
    ],
)
def test_what_is_cut_off_and_enlarged_is_counted(
    size: tuple[int, int], own: tuple[int, int], fit: str, cut: int, enlarged: int
) -> None:
    fitted = Fitted(DataConfig(source="x", size=size, fit=fit))  # type: ignore[arg-type]
    for each in (own, size):
        fitted.add(Decoded(np.zeros((3, *size), np.uint8), each))
    assert (fitted.images, fitted.cut, fitted.enlarged) == (2, cut, enlarged)
    assert len(fitted.notes()) == cut + enlarged
