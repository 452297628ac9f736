"""Parquet folders in the hub's layout, and what is said where the hub is out of reach."""

from __future__ import annotations

import io
import logging
import re
import time
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from unstir.data import tables
from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData
from unstir.data.load import load
from unstir.data.sources import Source
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


def test_a_test_part_whose_labels_are_kept_back_is_left_out_for_the_validation(tmp_path: Path) -> None:
    write(tmp_path, "train", range(12), label=[0, 1, 2] * 4)
    write(tmp_path, "validation", range(50, 53), label=[2, 0, 0])
    write(tmp_path, "test", range(100, 104), label=[-1] * 4)
    splits = load(DataConfig(source=str(tmp_path)))
    np.testing.assert_array_equal(splits.held_out.pixels[:, 0, 0, 0], [50, 51, 52])
    assert splits.held_out.labels is not None and splits.held_out.labels.tolist() == [2, 0, 0]
    assert "its part test is left out" in splits.note


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


def rich(folder: Path, n: int = 40, **changes: list) -> Path:
    """A table in which everything follows from the number that the image shows."""
    features = {
        "image": datasets.Image(),
        "edges": datasets.Image(),
        "fine_label": datasets.ClassLabel(names=["even", "odd"]),
        "coarse_label": datasets.ClassLabel(names=["low", "high", "unused"]),
        "artist": datasets.Value("string"),
        "id": datasets.Value("string"),
        "text": datasets.Value("string"),
        "score": datasets.Value("float64"),
        "year": datasets.Value("int32"),
        "safe": datasets.Value("bool"),
        "when": datasets.Value("timestamp[s]"),
    }
    rows = {
        "image": [Image.new("RGB", (6, 4), (v, 0, 9)) for v in range(n)],
        "edges": [Image.new("L", (3, 2), 200 - v) for v in range(n)],
        "fine_label": [v % 2 for v in range(n)],
        "coarse_label": [int(v >= 20) for v in range(n)],
        "artist": ["zoe" if v % 3 else "ada" for v in range(n)],
        "id": [f"{v:05d}" for v in range(n)],
        "text": [f"no {v}" for v in range(n)],
        "score": [v / 8 for v in range(n)],
        "year": [1900 + v for v in range(n)],
        "safe": [v > 5 for v in range(n)],
        "when": [v for v in range(n)],
    }
    assert changes.keys() <= rows.keys()
    datasets.Dataset.from_dict(rows | changes, datasets.Features(features)).to_parquet(folder / "train.parquet")
    return folder


def test_all_that_a_table_knows_goes_with_each_image(tmp_path: Path, cache: Path) -> None:
    rich(tmp_path, 120)
    first, again = (load(DataConfig(source=str(tmp_path))) for _ in range(2))
    assert (len(first.train), len(first.held_out)) == (114, 6)
    for part, other in ((first.train, again.train), (first.held_out, again.held_out)):
        # More than 100 different words, as in id, and times are left out.
        assert list(part.columns) == [
            *("label", "caption", "coarse_label", "artist", "score", "year", "safe", "edges")
        ]
        assert part.classes == ("even", "odd") and part.columns["artist"].classes == ("ada", "zoe")
        assert part.columns["coarse_label"].classes == ("low", "high", "unused")
        _, told = part.examples(np.arange(len(part)))
        shown = part.pixels[:, 0, 0, 0].astype(int)
        assert told["caption"] == [f"no {v}" for v in shown]
        values = {name: value.tolist() for name, value in told.items() if not isinstance(value, list)}
        assert values["label"] == (shown % 2).tolist()
        assert values["coarse_label"] == (shown >= 20).astype(int).tolist()
        assert values["artist"] == (shown % 3 > 0).astype(int).tolist()
        assert values["score"] == (shown[:, None] / 8).tolist()
        assert values["year"] == (shown[:, None] + 1900).tolist()
        assert values["safe"] == (shown[:, None] > 5).astype(float).tolist()
        edges = part.columns["edges"].array
        assert edges.shape == (len(part), 1, 2, 3) and not edges.flags.writeable
        assert (edges == 200 - shown.reshape(-1, 1, 1, 1)).all()
        assert part.fingerprint == other.fingerprint
        whole = ImageData.from_array(part.pixels, columns=part.columns)
        assert part.fingerprint == whole.fingerprint
    (entry,) = (cache / "images").iterdir()
    assert (entry / "column-7").read_bytes()[:6] == bytes([200 - first.train.pixels[0, 0, 0, 0]] * 6)


@pytest.mark.parametrize(
    ("extra", "odd", "said"),
    [
        ((), (), ""),
        (("validation",), (), "its part validation is left out"),
        ((), ("id",), "its column id is left out"),
        (("validation",), ("id", "when"), "its part validation is left out; its columns id, when are left out"),
        (("more", "validation"), (), "its parts validation, more are left out"),
    ],
)
def test_what_is_left_out_is_said(
    extra: tuple[str, ...], odd: tuple[str, ...], said: str, tmp_path: Path, cache: Path
) -> None:
    columns = {
        "id": [f"{v:05d}" for v in range(101)],
        "when": pa.array(range(101), pa.timestamp("s")),
        "label": [v % 2 for v in range(101)],
        "text": [f"no {v}" for v in range(101)],
        "age": list(range(101)),
    }
    kept = {name: values for name, values in columns.items() if name in ("label", "text", "age", *odd)}
    for part in ("train", "test", *extra):
        write(tmp_path, part, range(101), **kept)
    config = DataConfig(source=str(tmp_path))
    assert load(config).note == said == load(config).note
    assert set(load(config).train.columns) == {"label", "caption", "age"}


def test_a_size_is_of_pictures_too_but_channels_are_their_own(tmp_path: Path) -> None:
    splits = load(DataConfig(source=str(rich(tmp_path)), size=(2, 5), channels=3))
    assert splits.train.shape == (3, 2, 5) and splits.train.columns["edges"].array.shape[1:] == (1, 2, 5)


def test_one_colour_picture_makes_all_of_them_colour(tmp_path: Path) -> None:
    edges = [Image.new("RGB" if v == 30 else "L", (3, 2), (1, 2, 3) if v == 30 else v) for v in range(40)]
    splits = load(DataConfig(source=str(rich(tmp_path, edges=edges))))
    for part in (splits.train, splits.held_out):
        assert part.shape == (3, 4, 6) and part.columns["edges"].array.shape[1:] == (3, 2, 3)
        for shown, pixel in zip(part.pixels[:, 0, 0, 0], part.columns["edges"].array[:, :, 1, 2].tolist()):
            assert pixel == ([1, 2, 3] if shown == 30 else [shown] * 3)


def test_pictures_that_differ_in_size_are_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edges = [Image.new("L", (3, 2 + v // 39)) for v in range(40)]
    folder = str(rich(tmp_path, edges=edges))
    splits = load(DataConfig(source=folder))
    assert re.search(r"the 'edges' of .* differ in size.*left out.*data\.size", caplog.text)
    assert "edges" not in splits.train.columns and {"caption", "label"} <= splits.train.columns.keys()
    assert "edges" in load(DataConfig(source=folder, size=(4, 6))).train.columns


def test_an_image_whose_picture_cannot_be_read_is_skipped_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edges: list = [{"bytes": png(200 - v), "path": None} for v in range(40)]
    edges[17] = {"bytes": b"junk", "path": None}
    with caplog.at_level(logging.WARNING):
        splits = load(DataConfig(source=str(rich(tmp_path, edges=edges))))
    assert "image 17: edges: not an image" in caplog.text and len(splits.train) + len(splits.held_out) == 39
    for part in (splits.train, splits.held_out):
        shown = part.pixels[:, 0, 0, 0].astype(int)
        assert 17 not in shown
        assert part.columns["caption"].values == tuple(f"no {v}" for v in shown)
        assert (part.columns["score"].array[:, 0] * 8 == shown).all()
        assert (part.columns["edges"].array[:, 0, 0, 0] == 200 - shown).all()
    with pytest.raises(InputError, match="such as train image 17"):
        load(DataConfig(source=str(tmp_path), corrupt_limit=0))


def test_columns_with_gaps_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    edges = [None if v == 5 else Image.new("L", (3, 2), v) for v in range(40)]
    score = [None if v in (3, 4) else float("inf") if v == 9 else 1.0 for v in range(40)]
    artist = [None if v == 7 else "ada" for v in range(40)]
    text = [None if v == 8 else f"no {v}" for v in range(40)]
    with caplog.at_level(logging.WARNING):
        splits = load(DataConfig(source=str(rich(tmp_path, edges=edges, score=score, artist=artist, text=text))))
    missing = {"1 images": "edges", "3 images": "score"}
    assert all(
        f"{count} of '" in caplog.text and f"have no {name}" in caplog.text for count, name in missing.items()
    )
    assert "have no artist" in caplog.text and len(caplog.records) == 3
    assert not {"edges", "score", "artist"} & splits.train.columns.keys() and "year" in splits.train.columns
    captions = splits.train.columns["caption"].values
    assert [v for v, text in zip(splits.train.pixels[:, 0, 0, 0], captions) if text == ""] == [8]


def test_a_column_that_only_the_training_part_has(tmp_path: Path) -> None:
    both = {
        "train": datasets.Dataset.from_dict(
            {"image": [Image.new("L", (2, 2), v) for v in range(4)], "n": [1, 2, 3, 4], "word": list("abab")}
        ),
        "test": datasets.Dataset.from_dict({"image": [Image.new("L", (2, 2), v) for v in range(3)]}),
    }
    for name, part in both.items():
        part.to_parquet(tmp_path / f"{name}.parquet")
    parts = [part.with_format(None) for part in both.values()]
    known = tables._columns(parts, Source("x", "tables", str(tmp_path)))
    assert known[0]["n"].array.tolist() == [[1], [2], [3], [4]] and known[0]["word"].array.tolist() == [0, 1, 0, 1]
    assert known[1]["n"].missing() == known[1]["word"].missing() == 3


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


@pytest.mark.slow
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
