from __future__ import annotations

import logging
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


def test_other_arrays_go_with_the_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    random = np.random.default_rng(2)
    others = {
        "age": np.arange(40),
        "edges": random.integers(0, 256, (40, 2, 3, 3), dtype=np.uint8),
        "gap": np.where(np.arange(40) == 39, np.nan, 1.0),
        "pose": random.normal(size=(40, 3)).astype(np.float32),
        "tokens": random.normal(size=(40, 2, 5)).astype(np.float16),
        "words": np.array([f"word {i}" for i in range(40)]),
    }
    ignored = {"mean": np.zeros(3), "scalar": np.float32(1), "maps": np.zeros((40, 2, 2), np.int16)}
    np.savez(tmp_path / "set.npz", images=SEVEN, labels=np.arange(40) % 4, **others, **ignored)
    with caplog.at_level(logging.WARNING):
        first, again = (load(DataConfig(source=str(tmp_path / "set.npz"))) for _ in range(2))
    assert "'maps' of" in caplog.text and "have no gap" in caplog.text and len(caplog.records) == 2
    place = {image.tobytes(): i for i, image in enumerate(SEVEN)}
    for part, other in ((first.train, again.train), (first.held_out, again.held_out)):
        rows = [place[image.tobytes()] for image in part.pixels]
        assert list(part.columns) == [
            name
            for name in ("label", "age", "gap", "pose", "tokens", "words", "edges")
            if name != "gap" or 39 not in rows
        ]
        assert part.labels is not None and part.labels.tolist() == [row % 4 for row in rows]
        assert part.columns["age"].array.tolist() == [[row] for row in rows]
        assert part.columns["words"].values == tuple(f"word {row}" for row in rows)
        for name in ("edges", "pose", "tokens"):
            np.testing.assert_array_equal(part.columns[name].array, others[name][rows].astype(np.float32))
        assert not part.columns["edges"].array.flags.writeable and not part.columns["tokens"].array.flags.writeable
        assert part.fingerprint == other.fingerprint
    assert {39} & {place[image.tobytes()] for image in first.train.pixels} and "gap" in first.held_out.columns


def test_pictures_of_other_channels_cannot_be_resized(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=SEVEN[:, :3], edges=SEVEN)
    assert load(DataConfig(source=str(tmp_path / "set.npz"))).train.columns["edges"].facts()["width"] == 7
    with pytest.raises(InputError, match=r"the 'edges' of .* have 7 channels"):
        load(DataConfig(source=str(tmp_path / "set.npz"), size=(2, 2)))


def test_pickled_objects_beside_the_images_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.savez(tmp_path / "set.npz", images=SEVEN, odd=np.array([{}] * 40, dtype=object))
    with caplog.at_level(logging.WARNING):
        assert load(DataConfig(source=str(tmp_path / "set.npz"))).train.columns == {}
    assert "'odd' of" in caplog.text


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


LAST = [(32, 20, 3), (32, 32, 3), (8, 8, 1), (8, 8, 4), (7, 9, 4), (20, 30, 4), (6, 6, 3), (480, 12, 1)]
FIRST = [(2, 5, 3), (3, 3, 4), (1, 5, 5), (3, 4, 4), (32, 4, 4), (7, 5, 6), (16, 8, 4), (3, 8, 4), (4, 8, 3)]
FIRST += [(4, 4, 4), (3, 64, 3), (1, 64, 1), (3, 20, 3), (4, 9, 1), (3, 3, 3), (1, 28, 1), (2, 20, 3), (32, 4, 1)]


@pytest.mark.parametrize("shape", LAST + FIRST)
@pytest.mark.parametrize("compressed", [False, True])
def test_channels_may_come_last(shape: tuple[int, int, int], compressed: bool, tmp_path: Path) -> None:
    last = shape in LAST
    given = np.random.default_rng(3).integers(0, 256, (20, *shape), dtype=np.uint8)
    place = tmp_path / ("set.npz" if compressed else "set.npy")
    np.savez_compressed(place, images=given, edges=given) if compressed else np.save(place, given)
    splits = load(DataConfig(source=str(place)))
    meant = given.transpose(0, 3, 1, 2) if last else given
    both = np.concatenate([splits.train.pixels, splits.held_out.pixels])
    assert sorted(image.tobytes() for image in both) == sorted(image.tobytes() for image in meant)
    assert both.shape == meant.shape
    # Said wherever it could be otherwise.
    axes = "" if shape[2] not in (1, 3, 4) else "taken as (N, H, W, C)" if last else "taken as (N, C, H, W)"
    assert splits.note == (f"{axes}; edges {axes}" if axes and compressed else axes)
    if compressed:
        np.testing.assert_array_equal(splits.train.columns["edges"].array, splits.train.pixels)
    if len(meant[0]) in (1, 3, 4):  # and resized as they are seen
        resized = load(DataConfig(source=str(place), size=(6, 2))).train  # type: ignore[arg-type]
        assert resized.shape == (len(meant[0]), 6, 2)


def test_labels_may_be_called_label(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=SEVEN, label=np.arange(40) % 4 * 10)
    train = load(DataConfig(source=str(tmp_path / "set.npz"))).train
    assert train.classes == ("0", "10", "20", "30") and set(train.labels) == {0, 1, 2, 3}  # type: ignore[arg-type]


def test_further_pictures_may_have_any_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=SEVEN, pixels=SEVEN[:, :1, ::2])
    columns = load(DataConfig(source=str(tmp_path / "set.npz"))).train.columns
    assert columns["pixels"].array.shape[1:] == (1, *SEVEN[:, :1, ::2].shape[2:])
