"""Runs on one's own pictures: the folder however it is written, with the run inside, and with pictures added."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unstir.cli.main import run
from unstir.data.sources import find
from unstir.training.run_folder import data_of

Said = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photos(folder: Path, *numbers: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def train(data: str, images: int, out: str = "runs/x") -> int:
    small = ["--smoke", "--set", f"training.images={images}", "--out", out]
    return run(["train", "images", "--data", data, *small])


def test_a_run_goes_on_however_its_folder_is_written(folder: Path, capsys: Said) -> None:
    photos(folder / "d", *range(12))
    assert train("d", 8) == 0
    capsys.readouterr()
    assert train(f"{folder}/d/", 16) == 0
    assert "Going on from step 1" in capsys.readouterr().out
    (folder / "d").rename("e")
    assert train("e", 16) == 0
    assert capsys.readouterr().out.startswith("This run is finished")
    photos(folder / "other", *range(20, 32))
    assert train("other", 16) == 2  # though the run is finished
    assert f"other images: those of '{folder}/d/'" in capsys.readouterr().err


def test_a_run_within_its_own_data_is_no_data(folder: Path, capsys: Said) -> None:
    photos(folder / "a", *range(6))
    photos(folder / "b", *range(6, 12))
    assert train(".", 8) == 0
    assert list(folder.glob("runs/x/samples/*.png"))
    capsys.readouterr()
    assert train(".", 16) == 0
    said = capsys.readouterr().out
    assert "Going on from step 1" in said and "11 images of 3x32x32, told augmentation, label (2 classes)" in said
    assert train("runs/x", 16, "runs/y") == 2
    assert "is that of a run" in capsys.readouterr().err


def test_pictures_that_came_after_the_end_are_mentioned(folder: Path, capsys: Said) -> None:
    photos(folder / "d", *range(12))
    assert train("d", 8) == 0
    (folder / "d" / "0.png").touch()  # changes nothing
    capsys.readouterr()
    assert train("d", 8) == 0
    assert capsys.readouterr().out.count("\n") == 1
    photos(folder / "d", 12, 13)
    assert train("d", 8) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert "'d' has 2 more images" in first and last.startswith("This run is finished")


@pytest.mark.parametrize("written", ["./photos/", "{here}/photos", "link", "../{name}/photos"])
def test_they_are_mentioned_however_the_folder_is_written(folder: Path, capsys: Said, written: str) -> None:
    photos(folder / "photos", *range(12))
    assert train("photos", 8) == 0
    photos(folder / "photos", 12)
    (folder / "link").symlink_to("photos")
    capsys.readouterr()
    again = written.format(here=folder, name=folder.name)
    assert train(again, 8) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert f"'{again}' has 1 more image by" in first and last.startswith("This run is finished")


def test_the_same_words_may_lead_to_other_images(
    folder: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(folder / "a" / "photos", *range(12))
    photos(folder / "b" / "photos", *range(20, 36))
    monkeypatch.chdir(folder / "a")
    assert train("photos", 8, f"{folder}/x") == 0
    monkeypatch.chdir(folder / "b")
    capsys.readouterr()
    assert train("photos", 8, f"{folder}/x") == 2
    assert "holds a run on other images" in capsys.readouterr().err


def test_a_folder_whose_name_is_no_unicode_is_found_again(folder: Path, capsys: Said) -> None:
    data = os.fsdecode(b"caf\xe9")
    photos(folder / data, *range(12))
    assert train(data, 8) == 0
    assert find(data_of(folder / "runs" / "x").source).place == str(folder / data)
    capsys.readouterr()
    assert train(f"{folder}/{data}", 16) == 0
    assert "Going on from step 1" in capsys.readouterr().out


def test_transparency_is_kept_from_the_folder_to_the_samples(folder: Path, capsys: Said) -> None:
    (folder / "d").mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 4), dtype=np.uint8)
        pixels[:, :8, 3] = 0
        Image.fromarray(pixels).save(folder / "d" / f"{number}.png")
    assert train("d", 8, "runs/opaque") == 0
    more = ["--set", "data.channels=4", "--set", "data.augment=0.5", "--from", "runs/opaque", "--out", "runs/x"]
    assert run(["train", "images", "--data", "d", "--smoke", *more]) == 0
    assert "11 images of 4x32x32, told augmentation" in capsys.readouterr().out
    (preview, *_) = (folder / "runs/x/samples").glob("*.png")
    assert Image.open(preview).mode == "RGB"
    drawn = ["sample", "runs/x", "-n", "4", "--steps", "2", "--out"]
    for out in ("x.png", "black.jpg", "x/", "x.npz"):
        assert run([*drawn, out, *(["--ground", "black"] if out == "black.jpg" else [])]) == 0
    with np.load("x.npz") as saved:
        kept = saved["arr_0"]
    assert kept.shape == (4, 32, 32, 4)
    for number, image in enumerate(kept):
        np.testing.assert_array_equal(np.asarray(Image.open(f"x/{number}.png")), image)
    opacity = kept[0, 0, 0, 3] / 255
    corner = np.asarray(Image.open("x.png"))[2, 2]
    assert np.abs(corner - (opacity * kept[0, 0, 0, :3] + (1 - opacity) * 255)).max() <= 1
    dark, light = (np.asarray(Image.open(name).convert("L")).mean() for name in ("black.jpg", "x.png"))
    assert dark < light
    capsys.readouterr()
    assert run([*drawn, "y/", "--ground", "black"]) == 2
    assert "y/ keeps the transparency: leave --ground out" in capsys.readouterr().err


@pytest.mark.slow
def test_transparent_images_are_evaluated_and_examined(folder: Path, capsys: Said) -> None:
    (folder / "d").mkdir()
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 4), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "d" / f"{number}.png")
    assert run(["train", "images", "--data", "d", "--smoke", "--set", "data.channels=4", "--out", "runs/x"]) == 0
    for metrics in (["fd"], ["fd,recall", "--backbone", "pixels"]):
        assert run(["evaluate", "runs/x", "-n", "4", "--steps", "2", "--metrics", *metrics]) == 0
    assert run(["evaluate", "runs/x", "-n", "2", "--metrics", "bpd", "--terms", "2"]) == 0
    assert run(["doctor", "runs/x"]) == 0
