from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unstir.data.config import DataConfig
from unstir.data.load import load
from unstir.errors import InputError

SEVEN = np.random.default_rng(1).integers(0, 256, (40, 7, 5, 6), dtype=np.uint8)


def test_digits_are_scaled_and_a_fifth_of_each_class_is_held_back() -> None:
    from sklearn.datasets import load_digits

    splits = load(DataConfig(source="digits"))
    assert (len(splits.train), len(splits.held_out)) == (1437, 360)
    assert splits.train.shape == (1, 8, 8) and splits.train.classes == tuple("0123456789")
    assert splits.train.labels is not None and splits.held_out.labels is not None
    totals = np.bincount(load_digits().target)
    assert np.abs(np.bincount(splits.held_out.labels) - totals / 5).max() < 1
    # Every digit is there once, with its label, on the scale 0..16 -> 0..255.
    ours = [
        (tuple(np.rint(image.reshape(64).astype(float) * 16 / 255).astype(int)), int(label))
        for part in (splits.train, splits.held_out)
        for image, label in zip(part.pixels, part.labels)
    ]
    theirs = [(tuple(image.astype(int)), int(label)) for image, label in zip(*load_digits(return_X_y=True))]
    assert sorted(ours) == sorted(theirs)
    assert splits.train.pixels.max() == 255 and splits.train.pixels.min() == 0


def test_digits_can_be_resized() -> None:
    assert load(DataConfig(source="digits", size=16, channels=3)).train.shape == (3, 16, 16)  # type: ignore[arg-type]


def test_seven_channels_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "seven.npy", SEVEN)
    splits = load(DataConfig(source=str(tmp_path / "seven.npy")))
    assert splits.train.shape == (7, 5, 6) and len(splits.held_out) == 2 and splits.train.name == "seven"
    both = np.concatenate([splits.train.pixels, splits.held_out.pixels])
    assert sorted(a.tobytes() for a in both) == sorted(a.tobytes() for a in SEVEN)
    with pytest.raises(InputError, match="7 channels"):
        load(DataConfig(source=str(tmp_path / "seven.npy"), size=(8, 8)))
    with pytest.raises(InputError, match="7 channels"):
        load(DataConfig(source=str(tmp_path / "seven.npy"), channels=3))


def test_labels_stay_with_their_images(tmp_path: Path) -> None:
    values = np.array([30, 4] * 20)
    np.savez(tmp_path / "set.npz", images=SEVEN, labels=values)
    splits = load(DataConfig(source=str(tmp_path / "set.npz")))
    known = {image.tobytes(): str(value) for image, value in zip(SEVEN, values)}
    assert splits.train.classes == ("4", "30")
    for part in (splits.train, splits.held_out):
        assert part.labels is not None
        assert [part.classes[i] for i in part.labels] == [known[image.tobytes()] for image in part.pixels]


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", images=SEVEN, labels=np.arange(3))
    with pytest.raises(InputError, match="labels of shape"):
        load(DataConfig(source=str(tmp_path / "few.npz")))
    np.save(tmp_path / "cut.npy", SEVEN)
    data = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        load(DataConfig(source=str(tmp_path / "cut.npy")))
    np.savez(tmp_path / "pickled.npz", images=SEVEN, labels=np.array([{}] * 40, dtype=object))
    with pytest.raises(InputError, match="cannot be read"):
        load(DataConfig(source=str(tmp_path / "pickled.npz")))
