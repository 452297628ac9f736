"""Saving images: whole files or none, whatever stops it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unstir.errors import InputError
from unstir.sampling.images import Images

IMAGES = Images(torch.linspace(-1, 1, 2 * 3 * 4 * 5).reshape(2, 3, 4, 5), torch.tensor([1, 0]), ("a", "b"))


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    pixels = IMAGES.bytes().permute(0, 2, 3, 1).numpy()
    with np.load(IMAGES.save(tmp_path / "new" / "x.npz")) as saved:
        np.testing.assert_array_equal(saved["arr_0"], pixels)
        np.testing.assert_array_equal(saved["arr_1"], [1, 0])
    IMAGES.save(f"{tmp_path}/x.d/")
    assert sorted(path.name for path in (tmp_path / "x.d").iterdir()) == ["0-b.png", "1-a.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x.d" / "1-a.png")), pixels[1])
    grid = np.asarray(Image.open(IMAGES.save(tmp_path / "x.png")))
    np.testing.assert_array_equal(grid, np.asarray(IMAGES.grid()))


@pytest.mark.parametrize("name", ["x.npz", "x.png", "x/"])
def test_a_disk_that_fills_up_leaves_no_half_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(path: Path, *rest: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fill)
    monkeypatch.setattr(Image.Image, "save", lambda image, path: fill(path))
    with pytest.raises(InputError, match="could not be written: No space left on device"):
        IMAGES.save(f"{tmp_path}/{name}")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["x.pgn", "x.psd", "x.txt"])  # .psd can be read only
def test_an_ending_of_no_picture_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no picture ends in"):
        IMAGES.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
