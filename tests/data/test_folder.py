"""Which images a folder holds, their classes, their parts and their captions."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unstir.data.config import DataConfig
from unstir.data.folder import contents
from unstir.data.listing import Listing
from unstir.data.load import load
from unstir.data.sources import find
from unstir.errors import InputError, counted


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
    ("beside", "passed_over"),
    [
        (("config.yaml", "metrics.jsonl"), True),
        (("config.yaml", "checkpoints/step-1.safetensors"), True),
        (("config.yaml", "model.safetensors"), True),
        (("plan.yaml", "first/config.yaml"), True),
        (("config.yaml",), False),
        (("model.safetensors",), False),
        (("plan.yaml", "notes.txt"), False),
    ],
)
def test_the_folder_of_a_run_is_passed_over(
    photos: Callable[..., Path], beside: tuple[str, ...], passed_over: bool
) -> None:
    own = ["cat/1.png", "dog/2.png"]
    drawn = ["runs/x/drawn.png", "runs/x/samples/0.png", "runs/x/first/samples/0.png"]
    folder = photos(*own, *drawn)
    for name in beside:
        place = folder / "runs" / "x" / name
        place.parent.mkdir(exist_ok=True)
        place.write_text("")
    before = find(str(folder)).identity()
    found = contents(folder)
    assert names(found.train) == own if passed_over else {*names(found.train)} == {*own, *drawn}
    assert classes(found.train) == (("cat", "dog") if passed_over else ("cat", "dog", "runs"))
    photos("runs/x/samples/1.png")
    assert (find(str(folder)).identity() == before) == passed_over


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            ("1.png", "2.png", "dog/2.png", "cat/3.png"),
            "cat and dog are not taken as classes (as many images or more, 2,",
        ),
        (("1.png", "2.png", "3.png", "dog/2.png", "cat/3.png"), "or more, 3, lie beside them)"),
        (("dog/1.png", "dog/2.png"), ""),
        (("dog/1.png", "dog/2.png", "1.png"), ""),
        (("1.png", "2.png"), ""),
    ],
)
def test_otherwise_there_are_none(photos: Callable[..., Path], files: tuple[str, ...], said: str) -> None:
    found = contents(photos(*files))
    assert classes(found.train) == () and len(found.train) == len(files)
    assert said in found.note and bool(said) == bool(found.note)


@pytest.mark.parametrize("strays", [1, 2, 4])
@pytest.mark.parametrize("before", ["", "set/", "set/of/mine/", "train/", "old/train/"])
def test_a_few_images_beside_the_classes_are_left_out(
    photos: Callable[..., Path], strays: int, before: str
) -> None:
    own = [f"{before}{name}/{i}.png" for name in ("cat", "dog") for i in (1, 2, 3)]
    found = contents(photos(*own, *(f"{before}{i}.png" for i in range(strays))))
    assert names(found.train) == own and labels(found.train) == [0] * 3 + [1] * 3 and found.held_out is None
    assert (
        found.note == f"its folders are the classes cat and dog; {counted(strays, 'image')} beside them left out"
    )


def test_a_stray_beside_a_part_alone_is_left_out(photos: Callable[..., Path]) -> None:
    found = contents(photos("train/cat/1.png", "train/dog/2.png", "cover.png"))
    assert names(found.train) == ["train/cat/1.png", "train/dog/2.png"] and classes(found.train) == ("cat", "dog")
    assert found.note.startswith("train is what to train on; 1 image beside them left out; ")


def test_a_class_called_train_may_be_the_largest(photos: Callable[..., Path]) -> None:
    found = contents(photos("train/1.png", "train/2.png", "plane/2.png"))
    assert classes(found.train) == ("plane", "train") and found.held_out is None


@pytest.mark.parametrize("before", ["ds/", "ds/data/", "Test/"])
def test_parts_may_lie_deeper(photos: Callable[..., Path], before: str) -> None:
    files = ["test/dog/3.png", "train/cat/1.png", "train/dog/2.png"]
    found = contents(photos(*(before + name for name in files)))
    assert found.held_out is not None and names(found.held_out) == [f"{before}test/dog/3.png"]
    assert names(found.train) == [before + name for name in files[1:]] and classes(found.train) == ("cat", "dog")
    assert labels(found.train) == [0, 1] and labels(found.held_out) == [1]
    assert found.note == "test and train are its parts; its folders are the classes cat and dog"


@pytest.mark.parametrize("flat", [1, 3])
def test_a_part_for_testing_may_have_no_classes(photos: Callable[..., Path], flat: int) -> None:
    nested = ["test/cat/0.png", "test/dog/1.png"]
    found = contents(
        photos("train/cat/1.png", "train/dog/2.png", *nested, *(f"test/{i}.png" for i in range(flat)))
    )
    assert found.held_out is not None and labels(found.train) == [0, 1]
    if flat == 1:  # a stray
        assert names(found.held_out) == nested and "1 image beside them left out" in found.note
    else:
        assert len(found.held_out) == 5 and "left out" not in found.note
        assert dict(zip(names(found.held_out), labels(found.held_out))) == {
            **dict(zip(nested, (0, 1))),
            **{f"test/{i}.png": -1 for i in range(flat)},
        }


def test_a_part_that_is_not_used_is_named(photos: Callable[..., Path]) -> None:
    found = contents(photos("train/1.png", "test/2.png", "Val/3.png", "Val/4.png", "valid/5.png"))
    assert len(found.train) == 1 and found.note == "test and train are its parts; Val and valid are left out"
    found = contents(photos("cover.png"))
    assert found.note.endswith("Val and valid are left out; 1 image beside them left out")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["a.png", "ds/train/1.png", "ds/test/2.png"], "test and train"),
        (["cat/train/1.png", "cat/Val/2.png", "dog/train/1.png"], "Val and train"),
        (["train/1.png", "test/2.png", "3.png", "4.png", "5.png"], "test and train"),
    ],
)
def test_parts_that_are_there_and_not_used_are_mentioned(
    photos: Callable[..., Path], files: list[str], said: str
) -> None:
    found = contents(photos(*files))
    assert found.held_out is None and len(found.train) == len(files)
    assert found.note.startswith(f"folders called {said} are there, but not taken as its parts")


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


@pytest.mark.parametrize(
    ("train", "test"),
    [("Train", "Test"), ("training", "testing"), ("TRAINING", "Val"), ("train", "validation"), ("Train", "VALID")],
)
@pytest.mark.parametrize("beside", [(), ("cover.png",), ("cover.png", "docs/logo.png")])
def test_parts_in_other_spellings_and_beside_strays(
    photos: Callable[..., Path], train: str, test: str, beside: tuple[str, ...]
) -> None:
    parts = (f"{train}/cat/1.png", f"{train}/dog/2.png", f"{test}/dog/3.png")
    found = contents(photos(*parts, *beside))
    assert found.held_out is not None and classes(found.train) == ("cat", "dog")
    assert [*names(found.train), *names(found.held_out)] == [*parts] and labels(found.held_out) == [1]
    assert f"{' and '.join(sorted([train, test]))} are its parts" in found.note
    assert ("left out" in found.note) == bool(beside)
    assert not beside or counted(len(beside), "image") in found.note


def test_many_images_beside_them_make_no_parts(photos: Callable[..., Path]) -> None:
    found = contents(photos("train/1.png", "test/2.png", "3.png", "4.png"))
    assert found.held_out is None and len(found.train) == 4 and "not taken as its parts" in found.note


def test_what_is_decided_is_said(photos: Callable[..., Path]) -> None:
    assert not contents(photos("a.png", "b.png")).note
    assert contents(photos("x/a.png", "x/b.png")).note == ""
    folder = photos(*(f"{'c' * 50} {i}/1.png" for i in range(12)))
    for name in ("s.heic", "t.HEIC", "x/u.tga", "notes.md"):
        (folder / name).write_text("")
    for name in ("a.png", "b.png", "x/a.png", "x/b.png"):
        (folder / name).unlink()
    shown = f"{'c' * 37}..."
    assert contents(folder).note == (
        f"its folders are the classes {shown}, {shown} and 10 more; 2 .heic files, 1 .tga file passed over"
    )


@pytest.mark.parametrize("ending", ["jfif", "jpe", "JPG", "Jfif"])
def test_all_endings_of_jpeg(photos: Callable[..., Path], ending: str) -> None:
    folder = photos("a.png", "b.png")
    (folder / f"c.{ending}").write_bytes((folder / "a.png").read_bytes())
    assert names(contents(folder).train) == ["a.png", "b.png", f"c.{ending}"]


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
        ("metadata.jsonl", "[" * 100_000, "line 1"),
        ("metadata.jsonl", f'{{"file_name": "a.png", "n": {"9" * 5000}}}', "line 1"),
        ("metadata.csv", "image,text\na.png,x\n", "file_name"),
        ("metadata.csv", "file_name,text\nb.png,x\na.png,a red, round apple\n", "line 3 of.*written in quotes"),
        ("metadata.csv", 'file_name,text\nb.png,"x\ny"\n\na.png,a,b,c\n', "line 5 of.*written in quotes"),
        ("metadata.csv", "file_name,text\nphotos/a.png,x\n", "'photos/a.png'"),
    ],
)
def test_captions_that_cannot_be_understood(photos: Callable[..., Path], name: str, text: str, says: str) -> None:
    folder = photos("a.png", "b.png")
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=says):
        contents(folder)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "txt"])
def test_accents_may_be_written_in_two_ways(photos: Callable[..., Path], form: str, kind: str) -> None:
    there, given = (lambda text: unicodedata.normalize(form, text)), "NFD" if form == "NFC" else "NFC"
    folder = photos("plain/a.png", *(there(f"café{i}/über.png") for i in range(3)), "maps/ö.png")
    said = {"plain/a.png": "plain"} | {
        unicodedata.normalize(given, f"café{i}/über.png"): f"no {i}" for i in range(3)
    }
    if kind == "txt":
        for name, text in said.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).with_suffix(".txt").write_text(text)
        said_of = [path for path in folder.rglob("*.txt") if path.parent != folder]
        for path in said_of:  # beside its image, under its own spelling
            path.rename(folder / there(path.parent.name) / path.name)
    elif kind == "csv":
        lines = [f"{name},{text},maps/ö.png" for name, text in said.items()]
        (folder / "metadata.csv").write_text("\n".join(["file_name,text,map_file_name", *lines]))
    else:
        rows = [{"file_name": name, "text": text} for name, text in said.items()]
        (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = contents(folder)
    assert dict(zip(names(found.train), captions(found.train))) == {
        there(name): text for name, text in said.items()
    } | ({} if kind == "csv" else {"maps/ö.png": ""})
    if kind == "csv":
        assert found.train.pictures["map"](np.arange(4)) == [folder / "maps" / "ö.png"] * 4


def test_two_spellings_side_by_side_are_two_images(photos: Callable[..., Path]) -> None:
    pair = [unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]
    folder = photos(*pair)
    (folder / "metadata.csv").write_text(f"file_name,text\n{pair[0]},composed\n{pair[1]},apart\n")
    found = contents(folder).train
    assert dict(zip(names(found), captions(found))) == {pair[0]: "composed", pair[1]: "apart"}


def test_lines_without_an_image_are_counted(photos: Callable[..., Path]) -> None:
    folder = photos("a.png", "b.png")
    (folder / "metadata.csv").write_text("file_name,text\na.png,x\nc.png,y\nd.png,z\n")
    assert contents(folder).note == "2 lines of metadata name no image there"


@pytest.mark.parametrize("rows", [0, 3, 2500])
@pytest.mark.parametrize("line", ['b.png,"never closed', 'b.png,"closed" too soon'])
def test_a_quote_that_is_never_closed(photos: Callable[..., Path], rows: int, line: str) -> None:
    folder = photos("a.png", "b.png", "c.png")
    lines = ["file_name,text", 'a.png,"one', 'two"', line, *(f"c.png,says {i} {'x' * 60}" for i in range(rows))]
    (folder / "metadata.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"metadata\.csv' cannot be read from line 4 on"):
        contents(folder)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "txt"])
def test_a_caption_may_be_long(photos: Callable[..., Path], kind: str) -> None:
    folder, long = photos("a.png", "b.png"), "word " * 60_000 + "end"
    text = {
        "csv": f"file_name,text\na.png,{long}\n",
        "jsonl": json.dumps({"file_name": "a.png", "text": long}),
        "txt": long,
    }
    (folder / ("a.txt" if kind == "txt" else f"metadata.{kind}")).write_text(text[kind])
    splits = load(DataConfig(source=str(folder)))
    assert sorted(splits.train.columns["caption"].values + splits.held_out.columns["caption"].values) == ["", long]


def test_captions_in_another_encoding(photos: Callable[..., Path]) -> None:
    folder = photos("a.png")
    (folder / "a.txt").write_bytes("käfer".encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.txt.*UTF-8"):
        contents(folder)


def test_numbers_words_and_pictures_of_the_metadata(photos: Callable[..., Path]) -> None:
    folder = photos("a.png", "b.png", "c.png", "maps/a.png", "maps/b.png", "maps/c.png")
    rows = [
        {"file_name": "a.png", "depth_file_name": "maps/c.png", "age": 3, "old": False, "by": "zoe", "text": "x"},
        {"file_name": "b.png", "depth_file_name": "maps/a.png", "age": 1.5, "old": True, "by": "ada", "tags": []},
        {"file_name": "c.png", "depth_file_name": "./maps/b.png", "age": 2, "old": True, "by": "zoe", "tags": [1]},
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    listing = contents(folder).train
    assert names(listing) == ["a.png", "b.png", "c.png"]  # the maps are no images, and make no class
    assert list(listing.columns) == ["age", "old", "by", "caption"] and captions(listing) == ["x", "", ""]
    assert listing.columns["age"].array.tolist() == [[3], [1.5], [2]]
    assert listing.columns["old"].array.tolist() == [[0], [1], [1]]
    assert listing.columns["by"].array.tolist() == [1, 0, 1] and listing.columns["by"].classes == ("ada", "zoe")
    some = listing.take(np.array([2, 0]))
    assert some.pictures["depth"](some.indices) == [folder / "maps" / "b.png", folder / "maps" / "c.png"]


def test_metadata_as_csv_know_numbers_from_words(photos: Callable[..., Path]) -> None:
    folder = photos("train/a.png", "train/b.png", "train/c.png", "test/d.png", "train/x/a.png", "val/e.png")
    (folder / "train" / "metadata.csv").write_text(
        "file_name,age,by,mixed,label,next_file_name\na.png,3,zoe,1,10,b.png\nb.png,,ada,one,9,x/a.png\n"
        "c.png,-1e1,,2,10,a.png\n"
    )
    (folder / "test" / "metadata.csv").write_text("file_name,age,by,label,next_file_name\nd.png,4,eve,9,d.png\n")
    found = contents(folder)
    assert found.held_out is not None
    # Those that are pictures of others are images too if they have lines of their own.
    assert names(found.train) == ["train/a.png", "train/b.png", "train/c.png"]
    assert names(found.held_out) == ["test/d.png"]
    ages = found.train.columns["age"]
    assert ages.array[[0, 2]].tolist() == [[3], [-10]] and ages.missing() == 1
    assert found.held_out.columns["age"].array.tolist() == [[4]]
    assert found.train.columns["by"].array.tolist() == [2, 0, -1]
    assert found.held_out.columns["by"].array.tolist() == [1]
    assert found.train.columns["mixed"].classes == ("1", "2", "one")
    assert classes(found.train) == ("9", "10") and labels(found.train) == [1, 0, 1]
    assert labels(found.held_out) == [0]
    assert found.train.pictures["next"](np.array([1])) == [folder / "train" / "x" / "a.png"]
    assert found.held_out.pictures["next"](found.held_out.indices) == [folder / "test" / "d.png"]


def test_folders_are_classes_before_a_column_called_label(photos: Callable[..., Path]) -> None:
    folder = photos("cat/a.png", "dog/b.png")
    (folder / "metadata.csv").write_text("file_name,label\ncat/a.png,7\ndog/b.png,8\n")
    assert classes(contents(folder).train) == ("cat", "dog")


def test_pictures_that_only_some_images_have_are_left_out(
    photos: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = photos("a.png", "b.png", "m.png")
    (folder / "metadata.csv").write_text("file_name,mask_file_name\na.png,m.png\nb.png,\n")
    listing = contents(folder).train
    assert listing.pictures == {} and "1 images" in caplog.text and "have no mask" in caplog.text
    assert names(listing) == ["a.png", "b.png"]


def test_many_different_words_are_no_classes(photos: Callable[..., Path]) -> None:
    folder = photos(*(f"{i:03d}.png" for i in range(101)))
    lines = [f"{i:03d}.png,w{i},v{i % 100}" for i in range(101)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,id,by", *lines]))
    assert list(contents(folder).train.columns) == ["by"]


def test_what_metadata_say_reaches_the_examples(photos: Callable[..., Path]) -> None:
    folder = photos(*(f"{i}.png" for i in range(6)))
    small = photos(*(f"maps/{i}.png" for i in range(6)), size=(3, 2)) / "maps"
    lines = [f"{i}.png,maps/{i}.png,{i},says {i}" for i in range(6)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,low_file_name,age,text", *lines]))
    (folder / "2.png").write_bytes(b"junk")
    (small / "4.png").unlink()
    splits = load(DataConfig(source=str(folder)))
    assert len(splits.train) + len(splits.held_out) == 4
    for part in (splits.train, splits.held_out):
        _, told = part.examples(np.arange(len(part)))
        for place, pixels in enumerate(part.pixels):
            age = int(told["age"][place])  # type: ignore[arg-type]
            assert told["caption"][place] == f"says {age}"
            assert (pixels == np.asarray(Image.open(folder / f"{age}.png")).transpose(2, 0, 1)).all()
            low = np.asarray(Image.open(small / f"{age}.png")).transpose(2, 0, 1)
            np.testing.assert_allclose(told["low"][place], low / 127.5 - 1, atol=1e-6)  # type: ignore[arg-type]


def test_a_further_picture_may_be_called_images(photos: Callable[..., Path]) -> None:
    folder = photos("a.png", "b.png", "maps/a.png", "maps/b.png")
    lines = [{"file_name": f"{x}.png", "images_file_name": f"maps/{x}.png"} for x in "ab"]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    splits = load(DataConfig(source=str(folder)))
    assert "images" in splits.train.columns and len(splits.train) == len(splits.held_out) == 1
