"""Many images to one array: their common shape, and those that cannot be read."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from unstir.data import build as build_module
from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData
from unstir.data.kept import added_since
from unstir.data.load import load
from unstir.errors import InputError


def everything(folder: Path, **settings: object) -> tuple[np.ndarray, ImageData]:
    splits = load(DataConfig(source=str(folder), **settings))  # type: ignore[arg-type]
    return np.concatenate([splits.train.pixels, splits.held_out.pixels]), splits.train


def captions(part: ImageData) -> tuple[str, ...]:
    return part.columns["caption"].values  # type: ignore[return-value]


def sorted_rows(pixels: np.ndarray) -> list[bytes]:
    return sorted(image.tobytes() for image in pixels)


def test_more_images_than_a_chunk_come_in_order(tmp_path: Path) -> None:
    for i in range(333):
        Image.new("L", (3, 2), i % 256).save(tmp_path / f"{i:04d}.png")
    splits = load(DataConfig(source=str(tmp_path)))
    held = np.random.Generator(np.random.PCG64(0)).permutation(333)[:16]
    assert len(splits.held_out) == 16 and splits.train.shape == (1, 2, 3)
    expected = np.delete(np.arange(333), held) % 256
    np.testing.assert_array_equal(splits.train.pixels[:, 0, 1, 2], expected)
    np.testing.assert_array_equal(splits.held_out.pixels[:, 0, 0, 0], np.sort(held) % 256)


@pytest.mark.parametrize("colour_at", [0, 1, 150, 199])
def test_one_colour_image_makes_all_of_them_colour(tmp_path: Path, colour_at: int) -> None:
    for i in range(200):
        image = Image.new("RGB", (2, 2), (1, 2, 3)) if i == colour_at else Image.new("L", (2, 2), i)
        image.save(tmp_path / f"{i:03d}.png")
    pixels, _ = everything(tmp_path)
    assert pixels.shape == (200, 3, 2, 2)
    expected = [np.broadcast_to(np.uint8(i), (3, 2, 2)) for i in range(200) if i != colour_at]
    expected.append(np.broadcast_to(np.array([1, 2, 3], np.uint8)[:, None, None], (3, 2, 2)))
    assert sorted_rows(pixels) == sorted_rows(np.array(expected))


def test_all_gray_is_one_channel_and_channels_override(tmp_path: Path) -> None:
    for i in range(3):
        Image.new("L", (2, 2), i).save(tmp_path / f"{i}.png")
    assert everything(tmp_path)[0].shape == (3, 1, 2, 2)
    assert everything(tmp_path, channels=3)[0].shape == (3, 3, 2, 2)


def test_transparency_that_is_to_be_kept_must_be_somewhere(tmp_path: Path, cache: Path) -> None:
    for i in range(3):
        Image.new("RGBA", (3, 2), (i, 0, 0, 255)).save(tmp_path / f"{i}.png")
    with pytest.raises(InputError, match=r"no image of '.*' is transparent anywhere, .* leave it out"):
        everything(tmp_path, channels=4)
    assert not [*cache.rglob("entry.json")]
    assert (
        everything(tmp_path, channels=4, size=3, fit="pad")[0][:, 3].tolist() == [[[255] * 3] * 2 + [[0] * 3]] * 3
    )
    Image.new("RGBA", (3, 2), (3, 0, 0, 254)).save(tmp_path / "3.png")
    assert everything(tmp_path, channels=4)[0].shape == (4, 4, 2, 3)


def test_what_the_crop_takes_is_told_of_upright_images(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    for i in range(4):
        Image.new("RGB", (30, 20), (i, 0, 0)).save(tmp_path / f"{i}.png", **({"exif": exif} if i < 3 else {}))
    told = {
        (30, 20): "the crop takes more than a quarter from 1 of 4 images, which --set data.fit=pad leaves whole",
        (20, 30): "the crop takes more than a quarter from 3 of 4 images, which --set data.fit=pad leaves whole",
        (60, 60): "enlarging 4 of 4 images to 60x60 pixels adds no detail",
    }
    for size, said in told.items():
        assert said in load(DataConfig(source=str(tmp_path), size=size)).note
    assert not load(DataConfig(source=str(tmp_path), size=(30, 20), fit="pad")).note


def test_that_one_image_is_all_there_is_to_train_on_is_said(photos: Callable[..., Path]) -> None:
    assert "1 image alone is left to train on" in load(DataConfig(source=str(photos("a.png", "b.png")))).note
    assert not load(DataConfig(source=str(photos("a.png", "b.png", "c.png")))).note


@pytest.mark.parametrize(("channels", "count"), [(None, 3), (3, 3), (4, 2)])
def test_images_that_show_nothing_are_counted(tmp_path: Path, channels: int | None, count: int) -> None:
    for i in range(6):
        Image.new("RGBA", (3, 2), (i, 2, 3, 0 if i < 2 else 255)).save(tmp_path / f"{i}.png")
    Image.new("RGB", (3, 2), "white").save(tmp_path / "white.png")
    splits = load(DataConfig(source=str(tmp_path), channels=channels))  # type: ignore[arg-type]
    assert splits.note == f"{count} images white or transparent all over"
    assert load(DataConfig(source=str(tmp_path), channels=channels)).note == splits.note  # type: ignore[arg-type]
    Image.new("RGBA", (3, 2), (0, 0, 0, 9)).save(tmp_path / "white.png")
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").unlink()
    assert not load(DataConfig(source=str(tmp_path), channels=channels)).note  # type: ignore[arg-type]


def test_of_classes_of_one_image_the_held_out_one_is_said(photos: Callable[..., Path]) -> None:
    splits = load(DataConfig(source=str(photos(*(f"person{i}/a.png" for i in range(8))))))
    assert (len(splits.train), len(splits.held_out)) == (8, 1) and "trained on too" in splits.note
    assert splits.train.labels is not None and sorted(splits.train.labels) == [*range(8)]
    assert splits.held_out.pixels[0].tobytes() in {image.tobytes() for image in splits.train.pixels}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"size": (5400, 5400)},
            r"the 4 images of '.*', decoded to 5400x5400 pixels, take 0\.3 GB.* 0\.0 GB left",
        ),
        ({}, "decoded to 5x6 pixels"),
        ({"channels": 1}, ""),
        ({"size": (3, 4), "channels": 4, "fit": "pad"}, ""),
    ],
)
def test_images_that_the_disk_has_no_room_for_are_not_decoded(
    photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], says: str
) -> None:
    folder = photos(*(f"{i}.png" for i in range(4)))
    monkeypatch.setattr(build_module.shutil, "disk_usage", lambda place: SimpleNamespace(free=4 * 3 * 4 * 4))
    if not says:
        assert len(everything(folder, **settings)[0]) == 4
        return
    monkeypatch.setattr(build_module, "decoded", None)
    with pytest.raises(InputError, match=says):
        everything(folder, **settings)


def test_why_bytes_cannot_be_read_is_told(tmp_path: Path) -> None:
    for pixels, why in (
        (np.full((2, 2), 0.5, np.float32), "floating-point"),
        (np.full((2, 2), 70_000, np.int32), "pixels have signs"),
        (None, "not an image in a format Pillow knows"),
    ):
        stream = io.BytesIO(b"junk")
        if pixels is not None:
            Image.fromarray(pixels).save(stream, "TIFF")
        cells = [{"bytes": stream.getvalue(), "path": None}] * 2
        parquet.write_table(pa.table({"image": cells}), tmp_path / "train.parquet")
        with pytest.raises(InputError, match=rf"0, of at least 2 \(train image \d: .*{why}"):
            load(DataConfig(source=str(tmp_path)))


@pytest.mark.parametrize("each", [1, 2])
@pytest.mark.parametrize("bad", [0, 1])
def test_images_added_since_are_counted(photos: Callable[..., Path], each: int, bad: int) -> None:
    folder = photos(*(f"person{i}/{j}.png" for i in range(4) for j in range(each)))
    for i in range(bad):
        (folder / "person0" / f"bad{i}.png").write_bytes(b"")
    config = DataConfig(source=str(folder))
    known = load(config).train.fingerprint
    assert added_since(config, known) == 0 and added_since(config, "another") is None
    for count in (1, 2, 3):
        photos(f"person{count}/new.png", seed=count)
        assert added_since(config, known) == count
    (folder / "cover.png").write_bytes((folder / "person1" / "new.png").read_bytes())  # no image of its own
    assert added_since(config, known) == 3
    (folder.parent / "other").mkdir()
    moved = folder.rename(folder.parent / "other" / folder.name)  # of the same name, and yet another place
    assert added_since(DataConfig(source=str(moved)), known) is None


def test_sizes_that_differ_are_named_with_the_remedy(photos: Callable[..., Path]) -> None:
    folder = photos("a.png", "b.png", size=(6, 5))
    photos("c.png", size=(8, 9))
    with pytest.raises(InputError) as error:
        load(DataConfig(source=str(folder)))
    message = str(error.value)
    assert "c.png is 9x8" in message and "is 5x6" in message and "data.size=[64,64]" in message
    pixels, _ = everything(folder, size=(4, 3))
    assert pixels.shape == (3, 3, 4, 3)


def test_unreadable_images_are_named_and_skipped(
    photos: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = photos(*(f"cat/{i}.png" for i in range(30)), *(f"dog/{i}.png" for i in range(30)))
    for i in range(12):
        (folder / "cat" / f"bad{i}.png").write_bytes(b"not an image")
    (folder / "dog" / "cut.png").write_bytes((folder / "dog" / "0.png").read_bytes()[:60])
    (folder / "dog" / "0.txt").write_text("the first dog")
    with caplog.at_level(logging.WARNING):
        splits = load(DataConfig(source=str(folder), corrupt_limit=13))
    (record,) = caplog.records
    assert "13 unreadable images" in record.getMessage() and "and 3 more" in record.getMessage()
    assert sum(f"bad{i}.png" in record.getMessage() for i in range(12)) >= 9
    # What remains still has its own label and caption.
    both = [splits.train, splits.held_out]
    assert sum(map(len, both)) == 60
    dog = np.asarray(Image.open(folder / "dog" / "0.png")).transpose(2, 0, 1)
    for part in both:
        assert part.labels is not None and len(captions(part)) == len(part.labels) == len(part)
        for pixels, label, caption in zip(part.pixels, part.labels, captions(part)):
            if (pixels == dog).all():
                assert part.classes[label] == "dog" and caption == "the first dog"
            else:
                assert caption == ""
    assert sum(int((part.labels == 1).sum()) for part in both) == 30  # type: ignore[union-attr]


def test_too_many_unreadable_images_are_an_error(photos: Callable[..., Path], cache: Path) -> None:
    folder = photos("a.png", "b.png", "c.png")
    for i in range(3):
        (folder / f"bad{i}.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"bad\d\.png.*data\.corrupt_limit"):
        load(DataConfig(source=str(folder), corrupt_limit=2))
    load(DataConfig(source=str(folder), corrupt_limit=3))
    with pytest.raises(InputError, match=r"bad\d\.png.*data\.corrupt_limit"):  # from the cache too
        load(DataConfig(source=str(folder), corrupt_limit=2))


def test_no_readable_image_is_an_error(photos: Callable[..., Path]) -> None:
    folder = photos("a.png")
    for i in range(4):
        (folder / f"bad{i}.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"too few images.*: 1, of"):
        load(DataConfig(source=str(folder)))


def test_an_unreadable_held_out_part_gets_an_image(photos: Callable[..., Path]) -> None:
    folder = photos("train/1.png", "train/2.png", "train/3.png")
    (folder / "test").mkdir()
    (folder / "test" / "1.png").write_bytes(b"x")
    splits = load(DataConfig(source=str(folder)))
    assert (len(splits.train), len(splits.held_out)) == (2, 1)


def test_captions_keep_their_images_where_one_in_the_middle_is_skipped(photos: Callable[..., Path]) -> None:
    folder = photos("070.png")
    for i in range(150):
        if i != 70:
            Image.new("L", (3, 2), i).save(folder / f"{i:03d}.png")
        (folder / f"{i:03d}.txt").write_text(f"shows {i}")
    (folder / "070.png").write_bytes(b"junk")
    splits = load(DataConfig(source=str(folder)))
    both = [
        *zip(splits.train.pixels, captions(splits.train)),
        *zip(splits.held_out.pixels, captions(splits.held_out)),
    ]
    assert len(both) == 149
    assert all(caption == f"shows {pixels[0, 0, 0]}" for pixels, caption in both)
