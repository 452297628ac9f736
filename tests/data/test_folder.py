"""Which images a folder holds, their classes, their parts and their captions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from unstir.data.folder import contents
from unstir.data.listing import Listing
from unstir.errors import InputError


def names(listing: object) -> list[str]:
    return [listing.name(int(i)) for i in listing.indices]  # type: ignore[attr-defined]


def labels(listing: Listing) -> list[int]:
    return listing.columns["label"].array.tolist()


def classes(listing: Listing) -> tuple[str, ...]:
    return listing.columns["label"].classes if "label" in listing.columns else ()


def captions(listing: Listing) -> list[str]:
    return list(listing.columns["caption"].values) if "caption" in listing.columns else []


def test_subfolders_are_classes(photos: Callable[..., Path]) -> None:
    found = contents(photos("dog/1.png", "cat/2.png", "dog/deep/3.png", "cat/.hidden.png", ".trash/x.png"))
    assert classes(found.train) == ("cat", "dog") and found.held_out is None
    assert names(found.train) == ["cat/2.png", "dog/1.png", "dog/deep/3.png"]
    assert labels(found.train) == [0, 1, 1]


@pytest.mark.parametrize(
    "files", [("1.png", "dog/2.png", "cat/3.png"), ("dog/1.png", "dog/2.png"), ("1.png", "2.png")]
)
def test_otherwise_there_are_none(photos: Callable[..., Path], files: tuple[str, ...]) -> None:
    found = contents(photos(*files))
    assert classes(found.train) == () and len(found.train) == len(files)


def test_reading_gives_the_named_files(photos: Callable[..., Path]) -> None:
    folder = photos("b.png", "a.png", "c/d.png")
    listing = contents(folder).train
    assert listing.read(listing.indices[[2, 0]]) == [folder / names(listing)[2], folder / names(listing)[0]]


def test_train_and_test_folders_are_parts_not_classes(photos: Callable[..., Path]) -> None:
    found = contents(photos("train/cat/1.png", "train/dog/2.png", "test/dog/3.png", "val/dog/4.png"))
    assert classes(found.train) == ("cat", "dog") and found.held_out is not None
    assert names(found.train) == ["train/cat/1.png", "train/dog/2.png"]
    assert names(found.held_out) == ["test/dog/3.png"]
    assert labels(found.train) == [0, 1]
    assert labels(found.held_out) == [1]


def test_classes_may_be_called_train_too(photos: Callable[..., Path]) -> None:
    found = contents(photos("train/1.png", "plane/2.png"))
    assert classes(found.train) == ("plane", "train") and found.held_out is None


def test_a_text_file_beside_an_image_is_its_caption(photos: Callable[..., Path]) -> None:
    folder = photos("a.png", "b.png", "c/a.png")
    (folder / "a.txt").write_text(" a red käfer\n", encoding="utf-8")
    (folder / "c" / "a.txt").write_text("another")
    (folder / "README.txt").write_text("not one")
    assert captions(contents(folder).train) == ["a red käfer", "", "another"]


def test_without_captions_there_are_none(photos: Callable[..., Path]) -> None:
    folder = photos("a.png", "b.png")
    (folder / "notes.txt").write_text("x")
    assert captions(contents(folder).train) == []


def test_metadata_as_json_lines(photos: Callable[..., Path]) -> None:
    folder = photos("a.png", "sub/b.png", "sub/c.png")
    rows = [{"file_name": "./a.png", "text": "first\u2028line"}, {"file_name": "sub/b.png", "text": "second"}]
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n\n")
    (folder / "sub" / "metadata.jsonl").write_text('{"file_name": "c.png", "text": "third", "n": 3}')
    assert captions(contents(folder).train) == ["first\u2028line", "second", "third"]


def test_metadata_as_csv_and_before_text_files(photos: Callable[..., Path]) -> None:
    folder = photos("a.png", "b.png")
    (folder / "a.txt").write_text("from the text file")
    (folder / "b.txt").write_text("kept")
    (folder / "metadata.csv").write_text('\ufefffile_name,text\na.png,"one, two\nthree"\n', encoding="utf-8")
    assert captions(contents(folder).train) == ["one, two\nthree", "kept"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("metadata.jsonl", '{"file_name": "a.png", "text": "x"}\n{oops', "line 2"),
        ("metadata.jsonl", '{"name": "a.png", "text": "x"}', "file_name"),
        ("metadata.jsonl", "[1]", "file_name"),
        ("metadata.csv", "image,text\na.png,x\n", "file_name"),
        ("metadata.csv", "file_name,text\nphotos/a.png,x\n", "'photos/a.png'"),
    ],
)
def test_captions_that_cannot_be_understood(photos: Callable[..., Path], name: str, text: str, says: str) -> None:
    folder = photos("a.png", "b.png")
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=says):
        contents(folder)


def test_captions_in_another_encoding(photos: Callable[..., Path]) -> None:
    folder = photos("a.png")
    (folder / "a.txt").write_bytes("käfer".encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.txt.*UTF-8"):
        contents(folder)
