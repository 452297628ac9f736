"""Pictures in, restored pictures out, by command, by a model that has learned nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unstir.cli.main import run
from unstir.data.degradations import beyond

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of every task in colour, and one of one size of two tasks in gray."""
    folder = tmp_path_factory.mktemp("palette")
    assert run(["train", "palette", "--smoke", "--set", "sampling.steps=2", "--out", str(folder / "all")]) == 0
    flat = ["--set", "network.kind=fully_connected", "--set", "network.widths=[32]", "--set", "sampling.steps=2"]
    flat += ["--set", "data.degradations=[uncropping,super-resolution]"]
    assert run(["train", "mnist-inpaint", "--smoke", *flat, "--out", str(folder / "flat")]) == 0
    return folder


@pytest.fixture
def here(runs: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Path:
    shutil.copytree(runs, workplace / "runs", dirs_exist_ok=True)
    monkeypatch.chdir(workplace)
    return workplace


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("side", ["left", "all"])
def test_what_is_uncropped_keeps_the_picture_to_the_bit(here: Path, capsys: Capture, side: str) -> None:
    given = pixels("photos/1.png")  # 24 by 20
    line = ["edit", "uncrop", "runs/all", "photos/1.png", "--side", side, "-n", "2", "--json"]
    assert run(line) == 0
    said = json.loads(capsys.readouterr().out)
    shape = {"left": (20, 48), "all": (28, 34)}[side]
    assert said["shape"] == [3, *shape] and "the model was trained on 32 by 32" in said["note"]
    both = np.split(pixels(said["out"]), 2, axis=1)
    known = ~beyond(*shape, side)
    for result in both:
        assert (result[known].reshape(given.shape) == given).all()
    assert (both[0] != both[1])[~known].mean() > 0.5  # each from a seed of its own
    assert run([*line, "--seed", "1"]) == 0
    later = np.split(pixels(json.loads(capsys.readouterr().out)["out"]), 2, axis=1)
    assert np.abs(later[0].astype(int) - both[1]).max() <= 1


def test_each_task_gives_a_picture_of_its_size(here: Path, capsys: Capture) -> None:
    Image.fromarray(pixels("photos/2.png")).convert("L").save("gray.png")
    for line, size in {
        "colorize runs/all gray.png": (24, 20),
        "restore runs/all photos/2.png": (24, 20),
        "upscale runs/all photos/2.png --factor 4": (96, 80),
        "colorize runs/all photos/2.png -n 3": (72, 20),
    }.items():
        assert run(["edit", *line.split()]) == 0
        place = capsys.readouterr().out.splitlines()[-1].removesuffix(".").split(" in ")[-1]
        with Image.open(place) as image:
            assert (image.mode, image.size) == ("RGB", size)
    # The colours of a picture make no difference to what it is coloured with, but for rounding.
    first, *_ = np.split(pixels("runs/all/edits/2-colorized.png"), 3, axis=1)
    assert np.abs(first.astype(int) - pixels("runs/all/edits/gray-colorized.png")).mean() < 2


def test_a_model_that_was_trained_to_fill_in_does_so(here: Path, capsys: Capture) -> None:
    given, mask = pixels("photos/1.png"), np.zeros((20, 24), dtype=np.uint8)
    mask[5:12, 3:9] = 255
    Image.fromarray(mask).save("mask.png")
    assert run(["edit", "inpaint", "runs/all", "photos/1.png", "--mask", "mask.png", "-n", "2", "--json"]) == 0
    out, error = capsys.readouterr()
    said = json.loads(out)
    assert said["method"] == "trained" and "the model was trained to fill in" in error
    first, second = np.split(pixels(said["out"]), 2, axis=1)
    for result in (first, second):
        assert (result[mask == 0] == given[mask == 0]).all()
    assert (first != second)[mask > 0].mean() > 0.5


def test_a_network_of_one_size_gets_pictures_of_it_and_says_so(here: Path, capsys: Capture) -> None:
    Image.fromarray(pixels("photos/1.png")).convert("L").save("gray.png")
    for line, known in {
        "uncrop runs/flat gray.png --side left": "4 by 8",
        "upscale runs/flat gray.png": "4 by 4",
    }.items():
        assert run(["edit", *line.split()]) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0] == f"The picture was resized to {known} pixels, as this network takes one size alone"
        with Image.open(said[-1].removesuffix(".").split(" in ")[-1]) as image:
            assert (image.mode, image.size) == ("L", (8, 8))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "edit colorize runs/flat photos/1.png",
            "trained for colorization: its tasks are uncropping, super-resolution",
        ),
        ("edit restore runs/digits photos/1.png", "is a diffusion model and cannot restore degraded pictures"),
        ("edit uncrop runs/flat photos/1.png", "is in colour, and the model's images are gray"),
        ("edit inpaint runs/all photos/1.png --mask mask.png --method repaint", "leave --method repaint out"),
        ("edit inpaint runs/all photos/1.png --mask mask.png --larger tiles", "leave --larger tiles out"),
        ("edit inpaint runs/flat photos/1.png --mask mask.png", "is in colour"),
        ("edit restore runs/all absent.png", "There is no image at absent.png"),
        ("edit restore runs/all file", "cannot be read as an image"),
        ("edit restore runs/all photos/1.png --out file", "is there already"),
        ("edit restore runs/all photos/1.png --steps 0", "The steps of sampling cannot be 0"),
        ("edit upscale runs/all photos/1.png --factor 3", "'3' is not one of '2', '4'"),
        ("edit uncrop runs/all photos/1.png --side up", "--side"),
        ("evaluate runs/digits --metrics restoration", "cannot restore degraded pictures"),
        ("evaluate runs/all --metrics restoration,fcd", "restoration stands alone"),
        ("show degradations nothing", "nothing"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(here: Path, capsys: Capture, line: str, said: str) -> None:
    before = sorted(path for path in here.rglob("*"))
    assert run(line.split()) == 2
    out, error = capsys.readouterr()
    assert said in error and error.count("\n") == 1 and not out
    assert sorted(path for path in here.rglob("*")) == before


@pytest.mark.slow
def test_a_run_is_measured_task_by_task(here: Path, capsys: Capture) -> None:
    unlabelled = ["--data", "photos", "--smoke", "--set", "sampling.steps=2", "--out", "runs/photos"]
    assert run(["train", "palette", *unlabelled]) == 0
    capsys.readouterr()
    assert run(["evaluate", "runs/photos", "--metrics", "restoration", "-n", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said["restoration"]) == ["colorization", "inpainting", "uncropping", "jpeg", "super-resolution"]
    assert json.loads(Path(said["saved"]).read_text())["restoration"] == said["restoration"]
    with Image.open(said["picture"]) as image:
        assert image.size == (2 * 34 + 2, 15 * 34 + 2) or image.size[0] > 2 * 32  # 5 tasks, 3 rows each, 2 images
    assert said["restoration"]["uncropping"]["model"]["psnr"] > 0


def test_what_a_model_is_told_is_shown(here: Path, capsys: Capture) -> None:
    wide = {}
    for source in ("runs/all", "digits", "photos"):
        assert run(["show", "degradations", source, "-n", "2", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        wide[source] = len(said["degradations"])
        with Image.open(said["out"]) as image:
            assert np.asarray(image.convert("L")).std() > 5
    assert wide == {"runs/all": 5, "digits": 4, "photos": 5}


@pytest.mark.slow
def test_the_doctor_draws_from_what_it_cannot_do_without(here: Path, capsys: Capture) -> None:
    assert run(["doctor", "runs/flat", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert "samples" in {finding["check"] for finding in said["findings"]} and "samples" not in said["skipped"]
