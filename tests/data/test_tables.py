"""Parquet folders in the hub's layout, and what is said where the hub is out of reach."""

from __future__ import annotations

import io
import logging
import time
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from unstir.data.config import DataConfig
from unstir.data.load import load
from unstir.errors import InputError

SHARED = Path(__file__).parents[3] / "shared" / "data"


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (3, 2), value).save(stream, "PNG")
    return stream.getvalue()


def write(folder: Path, part: str, values: range, **columns: object) -> Path:
    """A parquet file as anyone might make it: the image as bytes and path, no features declared."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    images = [{"bytes": png(v), "path": f"{v}.png"} for v in values]
    table = pa.table({"image": images, **{k: v for k, v in columns.items()}})  # type: ignore[dict-item]
    parquet.write_table(table, folder / "data" / f"{part}-00000-of-00001.parquet")
    return folder


def test_parts_labels_and_captions(tmp_path: Path) -> None:
    words = ["pear", "apple", "fig"] * 4
    write(tmp_path, "train", range(12), label=words, text=[f"no {i}" for i in range(12)])
    write(tmp_path, "test", range(100, 103), label=["fig", "fig", "apple"], text=["x", "y", "z"])
    splits = load(DataConfig(source=str(tmp_path)))
    assert splits.train.classes == ("apple", "fig", "pear") == splits.held_out.classes
    np.testing.assert_array_equal(splits.train.pixels[:, 0, 0, 0], np.arange(12))
    np.testing.assert_array_equal(splits.held_out.pixels[:, 0, 1, 2], [100, 101, 102])
    assert splits.train.labels is not None and splits.held_out.labels is not None
    assert [splits.train.classes[i] for i in splits.train.labels] == words
    assert splits.held_out.labels.tolist() == [1, 1, 0]
    assert splits.train.columns["caption"].values[7] == "no 7"
    assert splits.held_out.columns["caption"].values == ("x", "y", "z")


def test_declared_names_and_another_image_column(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "labels": datasets.ClassLabel(names=["no", "yes"]),
            "other": datasets.Value("int8"),
        }
    )
    rows = {
        "picture": [Image.new("RGB", (4, 4), (v, 0, 9)) for v in range(30)],
        "labels": [1] * 30,
        "other": [5] * 30,
    }
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "train.parquet")
    splits = load(DataConfig(source=str(tmp_path)))
    assert splits.train.classes == ("no", "yes") and splits.train.labels is not None
    assert set(splits.train.labels.tolist()) == {1} and splits.train.shape == (3, 4, 4)
    assert (len(splits.train), len(splits.held_out)) == (29, 1)
    assert not set(splits.train.pixels[:, 0, 0, 0]) & set(splits.held_out.pixels[:, 0, 0, 0])


def test_missing_labels_unlabel_their_part_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "train", range(4), label=[7, 5, 7, 5])
    write(tmp_path, "test", range(3), label=pa.array([5, None, 7], pa.int64()))
    with caplog.at_level(logging.WARNING):
        splits = load(DataConfig(source=str(tmp_path)))
    assert splits.train.classes == ("5", "7") and splits.train.labels is not None
    assert splits.train.labels.tolist() == [1, 0, 1, 0]
    assert splits.held_out.labels is None and splits.held_out.classes == ()
    assert "1 images" in caplog.text and "no label" in caplog.text


def test_unreadable_and_absent_images_are_skipped_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [{"bytes": png(v), "path": None} for v in range(6)]
    images[2] = {"bytes": b"junk", "path": None}
    images[4] = None  # type: ignore[call-overload]
    parquet.write_table(pa.table({"img": images}), tmp_path / "train.parquet")
    with caplog.at_level(logging.WARNING):
        splits = load(DataConfig(source=str(tmp_path)))
    assert sorted([*splits.train.pixels[:, 0, 0, 0], *splits.held_out.pixels[:, 0, 0, 0]]) == [0, 1, 3, 5]
    assert "image 2" in caplog.text and "image 4" in caplog.text and "no image there" in caplog.text


def test_nothing_is_left_beside_the_entry(tmp_path: Path, cache: Path) -> None:
    write(tmp_path, "train", range(4))
    load(DataConfig(source=str(tmp_path)))
    (entry,) = (cache / "images").iterdir()
    assert {path.name for path in entry.iterdir()} == {"pixels", "entry.json"}


def test_tables_that_hold_something_else(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"words": ["a", "b"]}), tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"no column called image.*words"):
        load(DataConfig(source=str(tmp_path)))
    parquet.write_table(pa.table({"image": ["a", "b"], "n": [1, 2]}), tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"too few images.*: 0, of.*No such file"):
        load(DataConfig(source=str(tmp_path)))
    (tmp_path / "train.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match="cannot be read"):
        load(DataConfig(source=str(tmp_path)))


def test_labels_that_are_none(tmp_path: Path) -> None:
    write(tmp_path, "train", range(3), label=[0.5, 1.5, 2.5])
    with pytest.raises(InputError, match=r"'label'.*one integer or one word"):
        load(DataConfig(source=str(tmp_path)))


def test_a_hub_out_of_reach_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(self: object, *_: object, **__: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    start = time.perf_counter()
    with pytest.raises(InputError, match=r"'mnist' could not be fetched.*--data FOLDER"):
        load(DataConfig(source="mnist"))
    assert time.perf_counter() - start < 5
    assert not datasets.config.HF_HUB_OFFLINE


def test_the_hub_is_asked_for_the_right_set_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    rows = {"img": [Image.new("RGB", (32, 32), (v, v, 0)) for v in range(5)], "label": [0, 1, 0, 1, 0]}
    fetched = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows)})
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "load_dataset", lambda place: asked.append(place) or fetched)
    for _ in range(2):
        splits = load(DataConfig(source="cifar10"))
    assert asked == ["uoft-cs/cifar10"] and splits.train.name == "cifar10" and len(splits.train) == 4


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="no ../shared/data/mnist here")
def test_mnist() -> None:
    splits = load(DataConfig(source=str(SHARED / "mnist")))
    assert (len(splits.train), len(splits.held_out)) == (60_000, 10_000)
    assert splits.train.shape == (1, 28, 28) and splits.train.classes == tuple("0123456789")
    assert splits.train.labels is not None and splits.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert splits.train.pixels.mean() == pytest.approx(33.318421, abs=1e-6)  # the set's known mean
    assert np.bincount(splits.train.labels).tolist()[:3] == [5923, 6742, 5958]


@pytest.mark.skipif(not (SHARED / "emoji").is_dir(), reason="no ../shared/data/emoji here")
def test_emoji_are_captioned_and_lie_on_white() -> None:
    splits = load(DataConfig(source=str(SHARED / "emoji"), size=(32, 32)))
    assert splits.train.shape == (3, 32, 32) and len(splits.train.columns["caption"]) == len(splits.train)
    assert all(splits.train.columns["caption"].values) and splits.train.labels is None
    assert np.median(splits.train.pixels[:, :, 0, 0]) == 255
