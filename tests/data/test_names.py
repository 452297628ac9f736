"""Names that are long or no Unicode: whatever is stored and shown of them can be."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unstir.cache import cache_folder
from unstir.data.columns import Column
from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData, Splits
from unstir.data.folder import contents
from unstir.data.load import load

LATIN = os.fsdecode(b"caf\xe9")
LONG = ["x" * 240, "写真" * 40, "é" * 120, "🐈" * 60, os.fsdecode(b"\xe9" * 240)]


def load_twice(folder: Path) -> Splits:
    """The images, decoded and then from the cache, with nothing in them that cannot be stored."""
    first, again = (load(DataConfig(source=str(folder))) for _ in range(2))
    assert first.train.fingerprint == again.train.fingerprint and first.note == again.note
    for part in (first.train, first.held_out):
        texts = [known.values for known in part.columns.values() if known.kind == "text"]
        json.dumps([part.facts(), texts, first.note], ensure_ascii=False).encode()
    return again


@pytest.mark.parametrize("name", LONG)
def test_a_folder_may_have_a_long_name(name: str, photos: Callable[..., Path]) -> None:
    folder = photos("a.png", "b.png", "c.png")
    long = folder.rename(folder.with_name(name))
    splits = load_twice(long)
    assert len(splits.train) == 2 and len(list((cache_folder() / "images").iterdir())) == 1


@pytest.mark.parametrize("name", LONG)
def test_so_may_a_class(name: str, photos: Callable[..., Path]) -> None:
    folder = photos(f"{name}/a.png", f"{name}/b.png", "y/c.png", "y/d.png")
    splits = load_twice(folder)
    assert len(splits.train.classes) == 2 and len(splits.note) < 200
    if name.isprintable():
        assert name in splits.train.classes


def test_names_that_are_no_unicode(photos: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    folder = photos(f"{LATIN}/a.png", f"{LATIN}/b.png", "tea/c.png", "tea/d.png")
    (folder / LATIN / f"{LATIN}.png").write_bytes(b"broken")
    (folder / LATIN / "a.txt").write_text("says it")
    (folder / LATIN / f"{LATIN}.heic").touch()
    moved = shutil.move(folder, folder.with_name(f"{LATIN} here"))
    with caplog.at_level(logging.WARNING):
        splits = load_twice(Path(moved))
    assert splits.train.classes == ("caf\\udce9", "tea") and "caf\\udce9/caf\\udce9.png" in caplog.text
    captions = splits.train.columns["caption"].values + splits.held_out.columns["caption"].values  # type: ignore[operator]
    assert sorted(captions) == ["", "", "", "says it"] and "1 .heic file passed over" in splits.note


def test_lone_surrogates_in_captions_words_and_names_of_columns(photos: Callable[..., Path]) -> None:
    folder = photos(*(f"{i}.png" for i in range(6)), f"maps/{LATIN}.png")
    rows = [
        {
            "file_name": f"{i}.png",
            "text": f"half \ud83d {i}",
            "by\udc00": "ada\ud800" if i % 2 else "zoe",
            "n\udfff": i,
            "map\ud801_file_name": f"maps/{LATIN}.png",
        }
        for i in range(6)
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    train = load_twice(folder).train
    assert set(train.columns) == {"caption", "by\\udc00", "n\\udfff", "map\\ud801"}
    assert train.columns["by\\udc00"].classes == ("ada\\ud800", "zoe")
    for value, caption in zip(train.columns["n\\udfff"].array[:, 0], train.columns["caption"].values):
        assert caption == f"half \\ud83d {value:.0f}"


def test_a_column_that_is_given_can_be_stored_too() -> None:
    given = {"caption": ["\ud800", "fine"], "by": Column("classes", [0, 1], ("a\udcff", "b"))}  # type: ignore[arg-type]
    data = ImageData.from_array(np.zeros((2, 1, 2, 2), np.uint8), columns=given)
    assert data.columns["caption"].values == ("\\ud800", "fine")
    assert data.columns["by"].classes == ("a\\udcff", "b")


def test_a_file_is_read_by_its_own_name(photos: Callable[..., Path]) -> None:
    folder = photos(f"{LATIN}.png", "b.png")
    listing = contents(folder).train
    assert listing.read(listing.indices) == [folder / "b.png", folder / f"{LATIN}.png"]
