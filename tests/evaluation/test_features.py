from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from unstir.data.dataset import ImageData
from unstir.evaluation import features
from unstir.evaluation.backbones.backbone import Backbone

ROWS = np.array([0, 3, 4])
MATRIX = np.arange(35, dtype=np.float32).reshape(7, 5) / 3


class Reader:
    name, key = "reader", "k"


READER: Backbone = Reader()  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path))
    return tmp_path / "features"


def images(seed: int = 0) -> ImageData:
    return ImageData.from_array(np.random.default_rng(seed).integers(0, 256, (7, 3, 2, 2), dtype=np.uint8))


def test_features_come_back_of_their_images_alone(folder: Path) -> None:
    data, every = images(), np.arange(7)
    features.keep(MATRIX[ROWS], data, READER, ROWS)
    assert features.kept(data, READER, every) is None and features.kept(data, READER, ROWS + 1) is None
    some = features.kept(data, READER, ROWS)
    assert some is not None and some.tolist() == MATRIX[ROWS].tolist()
    assert isinstance(some, np.memmap) and not some.flags.writeable
    with features.written(data, READER, every) as put:
        put(np.array([2, 0, 1]), MATRIX[[2, 0, 1]])
        put(np.array([], dtype=int), np.zeros((0, 0)))
        put(np.array([3, 4, 5, 6]), MATRIX[3:])
    for rows in (every, ROWS, ROWS + 1):  # of all images any are known
        found = features.kept(data, READER, rows)
        assert found is not None and found.tolist() == MATRIX[rows].tolist()
    assert features.kept(images(1), READER, every) is None
    other: Backbone = Reader()  # type: ignore[assignment]
    other.key = "j"
    assert features.kept(data, other, every) is None
    assert len([*folder.iterdir()]) == 2


def test_what_is_broken_off_or_damaged_is_not_there(folder: Path) -> None:
    data, every = images(), np.arange(7)
    with pytest.raises(KeyboardInterrupt), features.written(data, READER, every) as put:
        put(every[:4], MATRIX[:4])
        raise KeyboardInterrupt
    assert not [*folder.iterdir()] and features.kept(data, READER, every) is None
    features.keep(MATRIX, data, READER, every)
    (place,) = folder.iterdir()
    whole = place.read_bytes()
    for damaged in (whole[:-1], whole[:50], b"", whole.replace(b"<f4", b"<i4")):
        place.write_bytes(damaged)
        assert features.kept(data, READER, every) is None


def test_what_was_used_longest_ago_makes_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = np.arange(7)
    for seed in range(3):
        features.keep(MATRIX, images(seed), READER, every)
    for age, place in enumerate(sorted(folder.iterdir(), key=lambda place: place.stat().st_mtime_ns)):
        os.utime(place, (1000 + age, 1000 + age))
    assert features.kept(images(0), READER, every) is not None  # which was used now
    monkeypatch.setattr(features, "MOST", 4 * MATRIX.nbytes + 300)
    features.keep(MATRIX, images(3), READER, every)
    known = [features.kept(images(seed), READER, every) is not None for seed in range(4)]
    assert known == [True, False, True, True]


def test_what_is_too_large_is_said_and_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(features, "MOST", MATRIX.nbytes - 1)
    with caplog.at_level(logging.WARNING):
        features.keep(MATRIX, images(), READER, np.arange(7))
    assert not [*folder.iterdir()] and "are not kept: they are read anew each time" in caplog.text
