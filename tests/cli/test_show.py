"""Every figure is drawn by one command, saved where it says, and never over another file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unstir.cli.main import run


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    return workplace


def test_default_places(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = {
        "schedules": "schedules.png",
        "forward photos": "forward.png",
        "forward runs/digits": "runs/digits/figures/forward.png",
        "reverse runs/digits -n 2": "runs/digits/figures/reverse.png",
        "levels runs/digits -n 20": "runs/digits/figures/levels.png",
    }
    for line, place in lines.items():
        for expected in (place, "forward-2.png")[: 1 + (place == "forward.png")]:
            assert run(["show", *line.split()]) == 0
            assert capsys.readouterr().out.splitlines()[-1].endswith(f" in {expected}")
            with Image.open(expected) as picture:
                assert min(picture.size) > 200
                assert np.asarray(picture.convert("L")).std() > 5


def test_a_source_is_a_picture_a_folder_or_a_name_and_the_seed_chooses(here: Path) -> None:
    seen = {}
    for name, line in {
        "first": "photos",
        "picture": "photos/0.png",
        "second": "photos --seed 1",
        "digits": "digits",
        "run": "runs/digits",
    }.items():
        assert run(["show", "forward", *line.split(), "--out", f"{name}.png"]) == 0
        seen[name] = np.asarray(Image.open(f"{name}.png"))
    assert np.array_equal(seen["first"], seen["picture"])
    assert not np.array_equal(seen["first"], seen["second"])
    assert np.array_equal(seen["digits"], seen["run"])


def test_a_large_picture_is_shrunk_so_that_its_noise_is_seen(here: Path) -> None:
    from unstir.cli.show import _image

    Image.new("RGB", (1000, 500), "red").save("large.png")
    image = _image("large.png", None, 0)
    assert image.shape == (3, 64, 128)
    assert image[0].min() > 0.99 and image[1:].max() < -0.99


def test_a_film(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "reverse", "runs/digits", "--label", "3", "-n", "2", "--out", "x.gif", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["out"], said["stages"]) == ("x.gif", 5)  # a smoke run draws in 4 steps
    with Image.open("x.gif") as film:
        assert film.n_frames == 5
    assert run(["show", "reverse", "runs/digits", "--out", "x.gif"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_the_levels_as_numbers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "levels", "runs/digits", "-n", "30", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ideal_of"] == 1437
    assert len(said["noise"]) == 20
    at_much_noise = {name: errors[0] for name, errors in said["x0"].items()}
    # At sigma / alpha = 100 nothing can be seen: the ideal denoiser answers with the mean image.
    assert at_much_noise["ideal"] == pytest.approx(at_much_noise["mean"], rel=0.05)
    assert said["x0"]["ideal, training"][-1] == pytest.approx(0, abs=1e-9)


def test_a_model_that_needs_its_labels_is_not_measured_without(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--set", "told.label.dropout=0", "--set", "sampling.guidance=0"]
    assert run(["train", "digits", "--smoke", *settings, "--out", "runs/told"]) == 0
    for line in ("show levels runs/told", "edit clean runs/told photos/1.png --sigma 25"):
        assert run(line.split()) == 2
        assert "needs told.label.dropout above 0" in capsys.readouterr().err


def test_images_that_have_changed_are_noticed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "images", "--data", "photos", "--smoke", "--out", "runs/photos"]) == 0
    Path("photos/3.png").unlink()
    assert run(["show", "levels", "runs/photos"]) == 2
    assert "are not those that the run was trained on" in capsys.readouterr().err
