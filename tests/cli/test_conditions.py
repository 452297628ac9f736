"""Conditions by command: what is written is told, and a labelled grid is its cells drawn one by one."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from unstir.cli.main import run
from unstir.cli.sample import EXAMPLES

Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="session")
def disks(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny run, ``runs/disks``: told a radius, a sketch, and two classes, never hidden."""
    folder = tmp_path_factory.mktemp("told")
    (folder / "disks").mkdir()
    rows = [("file_name", "radius", "colour", "sketch_file_name")]
    for i in range(24):
        radius, colour = 2 + i % 6, ("dark, gray", "white")[i % 2]
        for name, ink in ((f"{i}.png", "white" if i % 2 else "gray"), (f"sketch{i}.png", "white")):
            image = Image.new("L", (16, 16))
            ImageDraw.Draw(image).ellipse((8 - radius, 8 - radius, 8 + radius, 8 + radius), fill=ink)
            image.save(folder / "disks" / name)
        rows.append((f"{i}.png", str(radius), colour, f"sketch{i}.png"))
    with (folder / "disks" / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    told = (
        "radius={kind: numbers, dropout: 0.1}",
        "colour={kind: classes}",
        "sketch={kind: picture, dropout: 0.1}",
    )
    settings = [part for one in told for part in ("--set", f"told.{one}")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        line = ["train", "images", "--data", "disks", "--size", "16", "--smoke", "--out", "runs/disks"]
        line += ["--set", "training.learning_rate=2e-3", "--set", "sampling.guidance=0"]
        assert run([*line, *settings]) == 0
    return folder


@pytest.fixture
def here(disks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder beside which the run is."""
    (tmp_path / "runs").symlink_to(disks / "runs")
    (tmp_path / "disks").symlink_to(disks / "disks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def drawn(*arguments: str, source: str = "runs/disks") -> tuple[np.ndarray, np.ndarray | None]:
    """Draw into an array and return it, int (N, H, W, C), and the labels."""
    assert run(["sample", source, "--steps", "3", *arguments, "--out", "x.npz"]) == 0
    with np.load("x.npz") as saved:
        found = saved["arr_0"].astype(int), saved.get("arr_1")
    Path("x.npz").unlink()
    return found


def conditions(*written: str) -> list[str]:
    return [part for one in written for part in ("--condition", one)]


def test_a_grid_is_its_cells_drawn_one_by_one(here: Path) -> None:
    grid, _ = drawn(*conditions("radius=2,900,-900", "colour=white,dark, gray"), "-n", "2", "--seed", "7")
    cells = grid.reshape(2, 2, 3, *grid.shape[1:])  # colour, sample, radius
    for i, colour in enumerate(("white", "dark, gray")):
        for j, radius in enumerate((2, 900, -900)):
            alone, _ = drawn(*conditions(f"colour={colour}", f"radius={radius}"), "-n", "2", "--seed", "7")
            # Arithmetic in another batch may differ by a rounding.
            assert np.abs(cells[i, :, j] - alone).max() <= 2
    other = cells[:, ::-1], cells[..., ::-1, :, :, :], cells[::-1]
    assert all(np.abs(cells - wrong).max() > 10 for wrong in other)


def test_a_picture_is_told_by_its_path(here: Path) -> None:
    both, _ = drawn(*conditions("colour=0", "sketch=disks/sketch0.png,disks/sketch5.png"))
    assert len(both) == 2 and np.abs(both[0] - both[1]).max() > 10
    alone, _ = drawn(*conditions("colour=0", "sketch=disks/sketch5.png"), "-n", "1")
    assert np.abs(alone[0] - both[1]).max() <= 2
    Image.open("disks/sketch5.png").convert("RGB").resize((64, 64), Image.Resampling.NEAREST).save("large.png")
    large, _ = drawn(*conditions("colour=0", "sketch=large.png"), "-n", "1")
    assert np.abs(large[0] - alone[0]).max() < np.abs(both[0] - both[1]).max()


def test_one_value_tells_all_images_and_lays_out_no_grid(here: Path, capsys: Said) -> None:
    many = ["sample", "runs/disks", "--steps", "2", *conditions("colour=white", "radius=5"), "-n", "9"]
    assert run([*many, "--json", "--out", "x.png"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["told"] == {"colour": ["white"] * 9, "radius": ["5"] * 9}
    assert (said["n"], said["labels"]) == (9, None)
    assert Image.open("x.png").size == (3 * 66 + 2, 3 * 66 + 2)


def test_values_are_in_the_names_of_a_folder_and_along_the_edges_of_a_grid(here: Path, capsys: Said) -> None:
    line = ["sample", "runs/disks", "--steps", "2", *conditions("radius=-2,4.5", "colour=1,0")]
    assert run([*line, "--out", "new/"]) == 0
    assert capsys.readouterr().out == "4 images are in new/\n"
    assert sorted(path.name for path in Path("new").iterdir()) == [
        "0-radius=-2-colour=white.png",
        "1-radius=4.5-colour=white.png",
        "2-radius=-2-colour=dark__gray.png",
        "3-radius=4.5-colour=dark__gray.png",
    ]
    assert run([*line, "--out", "x.png"]) == 0
    width, height = Image.open("x.png").size
    assert 2 * 66 + 30 < width < 300 and 2 * 66 + 30 < height < 200


def test_far_values_are_said_and_drawn(here: Path, capsys: Said) -> None:
    assert run(["sample", "runs/disks", "--steps", "2", *conditions("radius=3,900", "colour=0"), "--json"]) == 0
    said = capsys.readouterr()
    assert "Far from all that the model was trained on: radius 900, where 4" in said.err
    assert json.loads(said.out)["n"] == 2


WRONG = {
    "": "Drawing without --condition colour=VALUE needs told.colour.dropout above 0",
    "colour=white radius=big": "'radius' is a number, such as 4",
    "colour=wite": "No colour is called 'wite'; did you mean 'white'? (there are dark, gray, white)",
    "color=white": "told no 'color'; did you mean 'colour'? (it is told radius, colour, sketch)",
    "colour": "A condition is written NAME=VALUE, not 'colour'",
    "colour=0 sketch=missing.png": "There is no image at missing.png",
    "colour=0 sketch=disks/metadata.csv": "disks/metadata.csv cannot be read as an image",
    "colour=0 colour=1": "'colour' is told twice",
    "colour=0,1 radius=2,3 sketch=disks/1.png,disks/2.png": "radius, colour, sketch have several values each",
}


@pytest.mark.parametrize(("written", "said"), WRONG.items())
def test_what_cannot_be_told_is_refused(written: str, said: str, here: Path, capsys: Said) -> None:
    before = sorted(Path("runs/disks").rglob("*"))
    order = sorted(written.split(), key=lambda one: not one.startswith("radius"))
    assert run(["sample", "runs/disks", *conditions(*order)]) == 2
    assert said in capsys.readouterr().err
    assert run(["sample", "runs/disks", *conditions("colour=0"), "--label", "3"]) == 2
    assert "trained without labels: leave the label out" in capsys.readouterr().err
    assert sorted(Path("runs/disks").rglob("*")) == before


def test_grids_too_large_for_one_picture_are_refused(here: Path, capsys: Said) -> None:
    line = ["sample", "runs/disks", *conditions(f"radius={','.join(['1'] * 600)}", "colour=0")]
    assert run(line) == 2
    assert "One picture of 600 images would be 39," in capsys.readouterr().err
    assert run([*line[:2], *conditions("radius=1,2", "colour=0"), "-n", "1000000000000"]) == 2
    assert "One picture of 2,000,000,000,000 images" in capsys.readouterr().err


def test_labels_are_a_condition_in_a_grid(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    grid, labels = drawn("--condition", "label=3,8,5", "-n", "2", "--seed", "4", source="runs/digits")
    assert labels is not None and labels.tolist() == [3, 8, 5] * 2
    cells = grid.reshape(2, 3, 8, 8, 1)
    for i, label in enumerate("385"):
        alone, _ = drawn("--label", label, "-n", "2", "--seed", "4", source="runs/digits")
        assert np.abs(cells[:, i] - alone).max() <= 2
    one, labels = drawn("--condition", "label=3", "-n", "2", "--seed", "4", source="runs/digits")
    assert labels is not None and labels.tolist() == [3, 3]
    assert np.abs(one - cells[:, 0]).max() <= 2


def test_the_examples_of_the_help_are_whole(capsys: Said) -> None:
    assert run(["sample", "--help"]) == 0
    said = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for example in EXAMPLES.split("\n\n")[1:]:
        assert example in said
        # Each is read as far as the run, which is not there.
        assert run(shlex.split(example)[1:]) == 2
        assert "runs/" in capsys.readouterr().err
