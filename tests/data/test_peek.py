"""A quick look fails as gently as decoding does: what neither can read is named when the images are decoded."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image, PngImagePlugin

from unstir.data.config import DataConfig
from unstir.data.decode import decode
from unstir.data.folder import contents
from unstir.data.load import load
from unstir.data.peek import has_labels, peek
from unstir.data.sources import find
from unstir.errors import InputError


def png(width: int, height: int, text: int = 0) -> bytes:
    """A PNG that says it is so large, with so many bytes of text."""
    stream, info = io.BytesIO(), PngImagePlugin.PngInfo()
    if text:
        info.add_text("workflow", "n" * text, zip=True)
    Image.new("L", (max(1, min(width, 99)), max(1, min(height, 99))), 7).save(stream, "PNG", pnginfo=info)
    data = bytearray(stream.getvalue())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def tiff(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "TIFF")
    data = stream.getvalue()
    for tag, value in ((256, width), (257, height)):
        at = data.index(struct.pack("<H", tag), int.from_bytes(data[4:8], "little"))
        data = data[: at + 2] + struct.pack("<HII", 4, 1, value) + data[at + 12 :]
    return data


UNREADABLE = {
    "text": png(9, 9, text=2_000_000),
    "huge": png(50_000, 50_000),
    "large": png(18_000, 10_000),
    "wide": png(2**31 - 1, 1),
    "none": png(0, 5),
    "huge tiff": tiff(50_000, 50_000),
    "junk": b"junk",
    "empty": b"",
    "head": png(9, 9)[:20],
    "bmp": b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 50_000, 50_000, 1, 24, 0) + bytes(20),
    "gif": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + bytes(3),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_is_passed_over_and_then_named(
    kind: str, photos: Callable[..., Path], caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    folder = photos(*(f"{i}.png" for i in range(5)))
    (folder / "odd.png").write_bytes(UNREADABLE[kind])
    seen = peek(find(str(folder)))
    assert (seen.images, seen.side) == (6, 5) and not recwarn.list
    splits = load(DataConfig(source=str(folder), size=4))  # type: ignore[arg-type]
    assert len(splits.train) + len(splits.held_out) == 5 and "odd.png" in caplog.text


def test_a_large_picture_is_looked_at_without_a_warning(
    photos: Callable[..., Path], recwarn: pytest.WarningsRecorder
) -> None:
    folder = photos("a.png")
    (folder / "a.png").write_bytes(png(10_000, 12_000))
    assert peek(find(str(folder))).side == 10_000 and not recwarn.list


def test_where_nothing_can_be_read_decoding_says_why(photos: Callable[..., Path]) -> None:
    folder = photos("a.png", "b.png")
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(UNREADABLE["huge"])
    assert peek(find(str(folder))).side == 0
    with pytest.raises(InputError, match=r"0, of at least 2 \([ab]\.png: Image size \(2500000000 pixels\)"):
        load(DataConfig(source=str(folder)))


def test_whether_images_have_classes_is_known_without_decoding(tmp_path: Path) -> None:
    """What is said beforehand is what the loaded images have."""
    np.savez(tmp_path / "with.npz", images=np.zeros((4, 1, 8, 8), np.uint8), labels=np.arange(4) % 2)
    np.savez(tmp_path / "without.npz", images=np.zeros((4, 1, 8, 8), np.uint8))
    rows = [{"bytes": png(9, 7), "path": None} for _ in range(6)]
    for name, column in {"tabled": "label", "told": "kind"}.items():
        (tmp_path / name).mkdir()
        table = pa.table({"image": pa.array(rows, CELL), column: [0, 1] * 3})
        parquet.write_table(table, tmp_path / name / "train.parquet")
    for name, places in {"classes": ("a/1", "a/2", "b/3"), "plain": ("1", "2", "3")}.items():
        for place in places:
            path = tmp_path / name / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(9, 7))
    expected = {"with.npz": True, "without.npz": False, "tabled": True, "told": False}
    expected |= {"classes": True, "plain": False}
    for name, labelled in expected.items():
        assert has_labels(find(str(tmp_path / name))) == labelled, name
        loaded = load(DataConfig(source=str(tmp_path / name), size=(8, 8)))
        assert ("label" in loaded.train.columns) == labelled, name
    assert has_labels(find("digits")) and not has_labels(find("faces"))
    np.savez(tmp_path / "one.npz", images=np.zeros((4, 1, 8, 8), np.uint8), labels=np.zeros(4, np.int64))
    assert not has_labels(find(str(tmp_path / "one.npz")))  # a class alone tells nothing apart


CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
ROWS = [{"bytes": png(9, 7), "path": None} for _ in range(24)]
TABLES = {
    "plain": ("image", ROWS, CELL, 7),
    "null first": ("image", [None, *ROWS], CELL, 7),
    "broken first": ("image", [{"bytes": b"nope", "path": None}, *ROWS], CELL, 7),
    "a path alone": ("img", [{"bytes": None, "path": "nowhere.png"}, *ROWS], CELL, 7),
    "bare bytes": ("image", [row["bytes"] for row in ROWS], pa.binary(), 7),
    "another name": ("jpg", ROWS, CELL, 7),
    "other bytes": ("hash", [b"0", b"1"], pa.binary(), 0),
    "no rows": ("image", [], CELL, 0),
    "no images": ("words", ["a", "b"], pa.string(), 0),
    "numbers": ("image", [1, 2], pa.int64(), 0),
    "all null": ("image", [None] * 30, CELL, 0),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_every_kind(kind: str, tmp_path: Path) -> None:
    column, rows, type_, side = TABLES[kind]
    parquet.write_table(
        pa.table({"n": range(len(rows)), column: pa.array(rows, type_)}), tmp_path / "train.parquet"
    )
    seen = peek(find(str(tmp_path)))
    assert (seen.images, seen.side) == (len(rows), side)
    if side:
        splits = load(DataConfig(source=str(tmp_path)))
        assert len(splits.train) + len(splits.held_out) == 24
    else:
        with pytest.raises(InputError):
            load(DataConfig(source=str(tmp_path)))


def test_of_many_tables_some_are_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(30):
        # The first 200 looked at are those of ten tables, two of which hold none that can be read.
        cell = {"bytes": b"junk" if i < 2 else png(9, 7) if i < 10 else png(3, 3), "path": None}
        parquet.write_table(pa.table({"image": pa.array([cell] * 25, CELL)}), tmp_path / f"train-{i:02d}.parquet")
    read = []
    whole = parquet.ParquetFile.iter_batches

    def counting(self: object, *rest: object, **named: object) -> object:
        read.append(self)
        return whole(self, *rest, **named)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counting)
    before = len(os.listdir("/proc/self/fd"))
    seen = peek(find(str(tmp_path)))
    assert (seen.images, seen.side) == (750, 7) and len(read) == 10
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99\n", "git lfs pull"),
        (b"", "cannot be read"),
        (b"PAR1", "cannot be read"),
    ],
)
def test_a_file_that_is_no_table(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(content)
    assert peek(find(str(tmp_path))).side == 0
    with pytest.raises(InputError, match=says):
        load(DataConfig(source=str(tmp_path)))


def test_a_run_beside_tables_is_no_data(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"image": pa.array(ROWS, CELL)}), tmp_path / "train.parquet")
    run = tmp_path / "runs" / "x"
    run.mkdir(parents=True)
    for name in ("config.yaml", *(f"{i}.png" for i in range(9)), "train.parquet"):
        (run / name).write_bytes(png(3, 3))
    (run / "metrics.jsonl").write_text('{"step": 1}\n')
    assert peek(find(str(tmp_path))).images == 24
    splits = load(DataConfig(source=str(tmp_path)))
    assert splits.train.shape == (1, 7, 9) and len(splits.train) == 23


def test_links_pipes_and_what_cannot_be_listed_are_passed_over(
    photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos("cat/a.png", "cat/b.png", "dog/c.png", "locked/d.png")
    (folder / "loop").symlink_to("loop")
    (folder / "cat" / "gone.png").symlink_to("nowhere.png")
    os.mkfifo(folder / "dog" / "pipe.png")
    os.mkfifo(folder / "metadata.csv")
    os.mkfifo(folder / "x.parquet")
    with monkeypatch.context() as patch, socket.socket(socket.AF_UNIX) as server:
        patch.chdir(folder)
        server.bind("socket.png")
    listed = os.scandir

    def locked(path: str) -> object:
        if str(path).endswith("locked/"[:-1]):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", locked)
    assert peek(find(str(folder))).images == 3
    found = contents(folder)
    assert found.note == (
        "its folders are the classes cat and dog; loop and locked/ cannot be read and are passed over"
    )
    (folder / "loop").unlink()
    assert contents(folder).note.endswith("; locked/ cannot be read and is passed over")
    assert len(load(DataConfig(source=str(folder))).train) == 2


def test_a_pipe_that_metadata_name_is_not_waited_for(photos: Callable[..., Path]) -> None:
    folder = photos("a.png", "b.png", "c.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "metadata.csv").write_text("file_name,map_file_name\na.png,b.png\nb.png,a.png\nc.png,pipe.png\n")
    splits = load(DataConfig(source=str(folder)))
    assert len(splits.train) + len(splits.held_out) == 2
    with pytest.raises(ValueError, match="it is no file"):
        decode(folder / "pipe.png", None, None)


@pytest.mark.parametrize("name", ["pipe", "x.npz", "x.npy", "x.png", "x.zip"])
def test_a_pipe_is_no_source(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=name):
        find(str(tmp_path / name))
