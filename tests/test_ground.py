from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from unstir.errors import InputError
from unstir.ground import check_ground, laid_over


def test_a_checkerboard_shows_where_a_picture_is_clear() -> None:
    image = Image.new("RGBA", (20, 10), (1, 2, 3, 0))
    image.putpixel((9, 0), (1, 2, 3, 255))
    image.putpixel((10, 0), (0, 0, 0, 128))
    found = np.asarray(laid_over(image, "checker"))
    expected = np.where(np.add.outer(np.arange(10) // 8, np.arange(20) // 8) % 2, 204, 255)
    expected = np.repeat(expected[..., None], 3, axis=-1)
    expected[0, 9:11] = [[1, 2, 3], [102, 102, 102]]
    assert np.abs(found.astype(int) - expected).max() <= 1 and (found[0, 9] == [1, 2, 3]).all()


@pytest.mark.parametrize("wrong", ["", "red", "#fff", "#12345g", "#1234567", "ff0000", None, 0])
def test_what_is_no_ground_is_refused(wrong: object) -> None:
    with pytest.raises(InputError, match="a ground is white, black, checker or"):
        check_ground(wrong)
