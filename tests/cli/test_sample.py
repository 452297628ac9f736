"""Drawing by command: where pictures go, that seeds and labels are heeded, and what is refused or kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unstir.cli.main import run
from unstir.cli.sample import split_labels

QUICK = ["--steps", "2"]


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    return workplace


def drawn(*arguments: str) -> np.ndarray:
    """Draw into an array and return it, uint8 (N, H, W, C)."""
    assert run(["sample", "runs/digits", *QUICK, *arguments, "--out", "x.npz"]) == 0
    array = np.load("x.npz")["arr_0"]
    Path("x.npz").unlink()
    return array


def test_a_seed_is_a_picture(here: Path) -> None:
    first = drawn("-n", "6", "--label", "3", "--seed", "5")
    assert first.shape == (6, 8, 8, 1)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(drawn("-n", "6", "--label", "3", "--seed", "5"), first)
    # Image i comes from seed + i; arithmetic in another batch may differ by a rounding.
    shifted = drawn("-n", "4", "--label", "3", "--seed", "7", "--batch", "3")
    assert np.abs(shifted.astype(int) - first[2:]).max() <= 2
    assert np.abs(drawn("-n", "6", "--label", "3", "--seed", "50").astype(int) - first).max() > 20


def test_options_reach_the_sampler(here: Path) -> None:
    plain = drawn("-n", "4").astype(int)
    for change in (
        ["--sampler", "ddpm"],
        ["--sampler", "langevin"],
        ["--sampler", "pc"],
        ["--eta", "1"],
        ["--steps", "5"],
        ["--guidance", "7"],
        ["--spacing", "leading"],
        ["--sampler", "heun", "--churn", "0.5"],
        ["--sampler", "unipc", "--steps", "5"],
        ["--schedule", "flow"],
    ):
        assert np.abs(drawn("-n", "4", *change).astype(int) - plain).max() > 0, change


def test_default_names_are_never_used_twice(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        assert run(["sample", "runs/digits", *QUICK, "-n", "4", "--seed", "9"]) == 0
    names = [line.split(" in ")[1] for line in capsys.readouterr().out.splitlines()]
    assert names == [f"runs/digits/samples/sample-seed9{end}.png" for end in ("", "-2", "-3")]
    assert all(Path(name).exists() for name in names)


def test_a_single_file_is_a_model_and_draws_here(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "runs/digits/model.safetensors").rename(here / "mine.safetensors")
    assert run(["sample", "mine.safetensors", *QUICK, "-n", "1"]) == 0
    assert capsys.readouterr().out == "1 image is in sample-seed0.png\n"
    assert Path("sample-seed0.png").exists()


@pytest.mark.parametrize("out", ["new", "new/", "deep/new.d/", "empty"])
def test_a_folder_gets_one_picture_each(out: str, here: Path) -> None:
    assert run(["sample", "runs/digits", *QUICK, "-n", "12", "--label", "4,7", "--out", out]) == 0
    pictures = sorted(path.name for path in Path(out).iterdir())
    assert pictures[:3] == ["00-4.png", "01-7.png", "02-4.png"]
    assert len(pictures) == 12
    assert Image.open(Path(out) / pictures[0]).size == (8, 8)


def test_a_grid_has_a_row_for_each_class(here: Path) -> None:
    assert run(["sample", "runs/digits", *QUICK, "-n", "20", "--out", "deep/grid.png"]) == 0
    width, height = Image.open("deep/grid.png").size
    assert height > 4 * width


def test_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["sample", "runs/digits", *QUICK, "-n", "5", "--label", "8,1", "--guidance", "2", "--json"]
    assert run(line) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["labels"] == [8, 1, 8, 1, 8]
    assert said["sampling"]["steps"] == 2
    assert said["sampling"]["guidance"] == 2
    assert Path(said["out"]).exists()


def test_an_unlabelled_run_draws(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sample", "runs/unlabelled", *QUICK, "-n", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] is None


def test_labels_with_commas() -> None:
    classes = ("cat", "dog", "fish, small")
    assert split_labels(None, classes, 3) is None
    assert split_labels("dog", classes, 2) == ["dog", "dog"]
    assert split_labels("cat, dog", classes, 3) == ["cat", "dog", "cat"]
    assert split_labels("fish, small", classes, 2) == ["fish, small"] * 2
