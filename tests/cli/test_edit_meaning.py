"""Pictures varied, blended and steered by what they mean, by command: what the model's own verbs make of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unstir.cli.main import run
from unstir.data.config import DataConfig
from unstir.data.load import load as load_images
from unstir.models.diffae import DiffusionAutoencoder, between
from unstir.models.file import load

Capture = pytest.CaptureFixture[str]
SIX = ["--steps", "6"]


@pytest.fixture(scope="module")
def runs(once: Callable[..., Path], cache: Path) -> Path:
    """A plan whose autoencoder has learned for a few seconds, and its file."""

    def fill(folder: Path) -> None:
        line = ["train", "mnist-diffae", "--smoke", "--set", "autoencoder.training.images=1600"]
        more = ["--set", "directions.training.images=6400", "--set", "directions.training.batch=128"]
        assert run([*line, *more, "--out", str(folder / "plan")]) == 0
        assert run(["export", str(folder / "plan"), "--out", str(folder / "plan.safetensors")]) == 0

    return once("meaning", fill)


@pytest.fixture
def here(runs: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Path:
    shutil.copytree(runs, workplace / "runs", dirs_exist_ok=True)
    monkeypatch.chdir(workplace)
    pixels = load_images(DataConfig(source="digits")).held_out.pixels
    for number, name in enumerate(("a.png", "b.png")):
        Image.fromarray(pixels[number, 0]).save(name)
    capsys.readouterr()
    return workplace


def model() -> DiffusionAutoencoder:
    return load("runs/plan/autoencoder")  # type: ignore[return-value]


def tensor(path: str) -> torch.Tensor:
    return torch.tensor(np.asarray(Image.open(path)))[None, None] / 127.5 - 1


def row(path: str) -> torch.Tensor:
    """Return the pictures of a strip, (N, 1, 8, 8)."""
    return torch.stack(tensor(path)[0].split(8, dim=-1))


def about(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.flatten(1).std(1).min() > 0.05
    assert (found - expected).abs().mean() < 0.01


def said(capsys: Capture) -> dict[str, object]:
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_the_way_from_one_to_another(here: Path, capsys: Capture) -> None:
    assert run(["edit", "interpolate", "runs/plan", "a.png", "b.png", "-n", "5", *SIX, "--json"]) == 0
    told = said(capsys)
    assert told["out"] == "runs/plan/edits/a-to-b.png" and told["film"] == "runs/plan/edits/a-to-b-film.webp"
    own, x = model(), torch.cat([tensor("a.png"), tensor("b.png")])
    codes, noise = own.encode(x), own.invert(x, steps=6)
    shares = torch.linspace(0, 1, 5)
    z = torch.stack([(1 - s) * codes[0] + s * codes[1] for s in shares])
    about(row("runs/plan/edits/a-to-b.png"), own.decode(z, noise=between(*noise, shares), steps=6))
    with Image.open("runs/plan/edits/a-to-b-film.webp") as film:
        assert film.n_frames == 17


def test_a_class_is_turned_up_and_down(here: Path, capsys: Capture) -> None:
    line = ["edit", "manipulate", "runs/plan", "a.png", "--towards", "9", *SIX, "--json"]
    for by in (0.5, -0.5):
        assert run([*line, "--by", str(by), "-n", "3", "--out", f"{by}.png"]) == 0
        told = said(capsys)
        assert told["by"] == [0, by / 2, by] and told["towards"] == "9"
        before, halfway, after = told["probability"]  # type: ignore[misc]
        assert before < halfway < after if by > 0 else before > halfway > after
        own, linear, x = model(), load("runs/plan/directions"), tensor("a.png")
        steps = torch.stack([linear.towards(9, amount) for amount in (0.0, by / 2, by)])  # type: ignore[operator]
        noise = own.invert(x, steps=6).expand(3, -1, -1, -1)
        about(row(f"{by}.png"), own.decode(own.encode(x) + steps, noise=noise, steps=6))


def test_the_same_meaning_from_other_noise(here: Path, capsys: Capture) -> None:
    line = ["edit", "vary", "runs/plan", "a.png", "-n", "3", "--seed", "7", *SIX, "--json"]
    assert run(line) == 0
    told = said(capsys)
    own = model()
    drawn = own.decode(own.encode(tensor("a.png")).expand(3, -1, -1, -1), [7, 8, 9], steps=6)
    about(row(str(told["out"])), drawn)
    assert drawn.diff(dim=0).abs().mean() > 0.05


def test_one_file_does_what_the_plan_does(here: Path, capsys: Capture) -> None:
    for name, place in {"plan": "runs/plan", "file": "runs/plan.safetensors"}.items():
        line = ["edit", "manipulate", place, "a.png", "--towards", "3", *SIX]
        assert run([*line, "--out", f"{name}.png"]) == 0
    assert np.array_equal(Image.open("plan.png"), Image.open("file.png"))


def test_any_picture_is_taken_as_in_training(here: Path) -> None:
    Image.new("RGB", (33, 20), "gray").save("large.png")
    assert run(["edit", "interpolate", "runs/plan", "large.png", "a.png", "-n", "2", *SIX, "--out", "x.png"]) == 0
    assert Image.open("x.png").size == (16, 8)


def test_the_two_paths_are_drawn(here: Path, capsys: Capture) -> None:
    assert run(["show", "diffae", "runs/plan", "a.png", *SIX, "--json"]) == 0
    told = said(capsys)
    own, x = model(), tensor("a.png")
    back = own.decode(own.encode(x), noise=own.invert(x, steps=6), steps=6)
    assert told["error"] == pytest.approx(float((back - x).square().mean()), rel=0.1)
    with Image.open(str(told["out"])) as picture:
        assert np.asarray(picture.convert("L")).std() > 20
    assert run(["show", "diffae", "runs/plan", *SIX, "--out", "held-out.png"]) == 0  # a held-out one


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("edit interpolate runs/digits a.png b.png", "a diffusion model and cannot vary, blend and steer"),
        ("edit manipulate runs/digits a.png --towards 9", "a diffusion model and cannot vary, blend and steer"),
        ("show diffae runs/digits", "a diffusion model and cannot vary, blend and steer what images mean"),
        ("edit manipulate runs/plan a.png --towards ten", "No class is called 'ten'"),
        ("edit manipulate runs/plan a.png --towards 10", "Class 10 is out of range"),
        (
            "edit manipulate runs/plan/autoencoder a.png --towards 9",
            "knows no direction to go in: it takes a plan",
        ),
        ("edit interpolate runs/plan a.png gone.png", "There is no image at gone.png"),
        ("edit interpolate runs/plan a.png file", "file cannot be read as an image"),
        ("edit interpolate runs/plan a.png b.png --steps 2000", "2000 steps were asked for"),
        (
            "edit vary runs/plan a.png --strength 0.4",
            "the noise alone, of a diffusion autoencoder: leave --strength",
        ),
        ("edit vary runs/plan a.png --label 4", "of a diffusion autoencoder: leave --label out"),
        ("edit inpaint runs/plan a.png --mask mask.png", "cannot fill in, vary and deblur images"),
        ("sample runs/plan/autoencoder", "a diffusion autoencoder and cannot draw images"),
        ("edit clean runs/plan/directions a.png", "a linear classifier of codes and cannot clean images"),
    ],
)
def test_what_cannot_be_is_told_at_once(here: Path, capsys: Capture, line: str, message: str) -> None:
    assert run(line.split()) == 2
    assert message in capsys.readouterr().err
    assert not list(Path("runs/plan").glob("edits/*"))


def test_a_picture_comes_back_from_both_codes(here: Path, capsys: Capture) -> None:
    assert run(["edit", "reconstruct", "runs/plan", "a.png", "--seed", "3", "--json"]) == 0
    (told,) = said(capsys)["images"]  # type: ignore[misc]
    own, x = model(), tensor("a.png")
    codes = own.encode(x)
    both = own.decode(codes, noise=own.invert(x, steps=50), steps=50)
    about(row(told["out"]), torch.cat([x, both, own.decode(codes, [3], steps=50)]))
    assert told["psnr"] > told["alone"] + 5
