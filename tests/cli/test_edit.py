"""A corrupted image of a user's, cleaned by command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unstir.cli.main import run
from unstir.data.config import DataConfig
from unstir.data.load import load


@pytest.fixture(scope="module")
def cleaner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A denoising autoencoder, trained for a few seconds on the digits."""
    out = tmp_path_factory.mktemp("cleaner") / "run"
    small = ["network.channels=[32,32]", "network.patch=1", "training.batch=32", "training.warmup=20"]
    settings = [word for setting in small for word in ("--set", setting)]
    line = ["train", "mnist-dae", "--data", "digits", "--images", "1500", *settings, "--out", str(out)]
    assert run(line) == 0
    return out


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    return workplace


def digit(index: int) -> np.ndarray:
    """Return a held-out digit, (8, 8), 0 to 255."""
    return load(DataConfig(source="digits")).held_out.pixels[index, 0].astype(float)


def error(path: str | Path, clean: np.ndarray) -> float:
    return float(((np.asarray(Image.open(path).convert("L"), dtype=float) - clean) ** 2).mean())


def test_a_noisy_digit_comes_out_nearer_to_what_it_was(
    cleaner: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.5 * 127.5, (6, 8, 8))
    before = after = 0.0
    for index in range(6):
        noisy = np.clip(digit(index) + noise[index], 0, 255).astype(np.uint8)
        Image.fromarray(np.stack([noisy] * 3, axis=-1)).save("noisy.png")  # in colour: taken as gray
        assert run(["edit", "clean", str(cleaner), "noisy.png", "--out", f"{index}.png"]) == 0
        assert capsys.readouterr().out == f"The cleaned image is in {index}.png\n"
        with Image.open(f"{index}.png") as cleaned:
            assert (cleaned.mode, cleaned.size) == ("L", (8, 8))
        before += error("noisy.png", digit(index))
        after += error(f"{index}.png", digit(index))
    assert after < 0.6 * before


def test_any_size_goes_in_and_comes_out(cleaner: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for width, height in ((24, 20), (7, 300), (301, 3)):
        Image.new("RGB", (width, height), "gray").save("any.png")
        assert run(["edit", "clean", str(cleaner), "any.png", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["shape"] == [1, height, width]
        with Image.open(said["out"]) as cleaned:
            assert cleaned.size == (width, height)
    assert said["out"] == str(cleaner / "edits/any-cleaned-3.png")


def test_a_diffusion_model_cleans_noise_of_a_given_strength(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = digit(0)
    noise = np.random.default_rng(0).normal(0, 60, (8, 8))
    Image.fromarray(np.clip(clean + noise, 0, 255).astype(np.uint8)).save("noisy.png")
    for sigma in ("60", "6"):
        assert run(["edit", "clean", "runs/digits", "noisy.png", "--sigma", sigma, "--out", f"{sigma}.png"]) == 0
    # Told of little noise, even an untrained model changes little; told of much, it does.
    with Image.open("noisy.png") as noisy:
        given = np.asarray(noisy, dtype=float)
    assert 4 * error("6.png", given) < error("60.png", given)
    assert run(["edit", "clean", "runs/digits", "noisy.png", "--sigma", "0.2"]) == 2
    assert "trained on noise with a sigma of" in capsys.readouterr().err


def test_a_network_of_one_size_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind = ["--set", "network.kind=fully_connected", "--set", "network.widths=[32]"]
    assert run(["train", "mnist-dae", "--smoke", *kind, "--out", "runs/flat"]) == 0
    capsys.readouterr()
    assert run(["edit", "clean", "runs/flat", "photos/1.png"]) == 2
    assert capsys.readouterr().err == (
        "unstir: The image is 24 pixels wide and 20 high, and this fully connected network takes 8 by 8 alone.\n"
    )


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("method", ["posterior", "repaint", "replacement"])
def test_a_hole_is_filled_and_the_rest_stays_bit_for_bit(
    method: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["edit", "inpaint", "runs/unlabelled", "digit.png", "--mask", "mask.png", "--method", method]
    assert run([*line, "--steps", "8", "--out", "filled.png"]) == 0
    said = capsys.readouterr().out.splitlines()
    # Over 8 steps a jump is of one level: from each of the last 7, nine times.
    evaluations = 8 + 9 * 7 if method == "repaint" else 8
    assert f"({method}): {evaluations} evaluations of the network" in said[0]
    assert said[1] == "The filled-in picture is in filled.png"
    known = pixels("mask.png") == 0
    assert (pixels("filled.png")[known] == pixels("digit.png")[known]).all()
    assert (pixels("filled.png")[~known] != pixels("digit.png")[~known]).any()


def test_a_full_mask_is_sampling_and_an_empty_one_the_picture(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (8, 8), 255).save("full.png")
    Image.new("L", (8, 8), 0).save("empty.png")
    how = ["--steps", "3", "--seed", "4", "--sampler", "ddpm"]
    line = ["edit", "inpaint", "runs/unlabelled", "digit.png", *how]
    assert run([*line, "--mask", "full.png", "--out", "all.png", "-n", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evaluations"] == 3
    assert run(["sample", "runs/unlabelled", "-n", "4", *how, "--out", "drawn.npz"]) == 0
    row = pixels("all.png")
    drawn = np.load("drawn.npz")["arr_0"][..., 0]
    for i in range(4):
        assert (row[:, 8 * i : 8 * (i + 1)] == drawn[i]).all()
    assert run([*line, "--mask", "empty.png", "--out", "nothing.png"]) == 0
    assert (pixels("nothing.png") == pixels("digit.png")).all()


def test_pictures_of_other_sizes_are_tiled_or_resized_as_asked(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    big = np.random.default_rng(1).integers(0, 256, (11, 16), dtype=np.uint8)
    hidden = np.zeros((11, 16), dtype=np.uint8)
    hidden[3:7, 2:12] = 255
    Image.fromarray(big).save("big.png")
    Image.fromarray(hidden).save("hidden.png")
    line = ["edit", "inpaint", "runs/unlabelled", "big.png", "--mask", "hidden.png", "--steps", "2"]
    assert run(line) == 2
    assert "16 by 11 pixels, and the model's images are 8 by 8: ask for --larger tiles" in capsys.readouterr().err
    for way in ("tiles", "resize"):
        assert run([*line, "--larger", way, "--out", f"{way}.png"]) == 0
        assert (pixels(f"{way}.png")[hidden == 0] == big[hidden == 0]).all()
        assert (pixels(f"{way}.png")[hidden > 0] != big[hidden > 0]).any()
    capsys.readouterr()
    for edited in (
        ["vary", "--larger", "resize"],
        ["vary", "--larger", "tiles"],
        ["deblur", "--sigma", "1", "--larger", "tiles"],
    ):
        line = ["edit", edited[0], "runs/unlabelled", "big.png", *edited[1:], "--steps", "2", "--json"]
        assert run(line) == 0
        assert pixels(json.loads(capsys.readouterr().out)["out"]).shape == (11, 16)
    Image.fromarray(big[:5]).save("low.png")
    assert run(["edit", "vary", "runs/unlabelled", "low.png", "--larger", "tiles"]) == 2
    assert "too large for its tiles: ask for --larger resize" in capsys.readouterr().err


def test_a_variation_of_no_strength_is_the_picture_and_of_full_strength_a_sample(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for strength, evaluations in (("0", 0), ("0.5", 2), ("1", 4)):
        line = ["edit", "vary", "runs/digits", "digit.png", "--strength", strength, "--label", "3", "--steps", "4"]
        capsys.readouterr()
        assert run([*line, "--out", f"{strength}.png", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["evaluations"] == evaluations
    assert (pixels("0.png") == pixels("digit.png")).all()
    assert run(["sample", "runs/digits", "-n", "1", "--label", "3", "--steps", "4", "--out", "single/"]) == 0
    assert (pixels("1.png") == pixels("single/0-3.png")).all()
    assert (pixels("0.5.png") != pixels("1.png")).any() and (pixels("0.5.png") != pixels("0.png")).any()


def test_an_edit_is_told_what_drawing_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A full mask is drawing, so what is told and what guides must come out as in ``unstir sample``."""
    Image.new("L", (8, 8), 255).save("full.png")
    how = ["--steps", "3", "--seed", "4"]
    assert run(["train", "digits", "--smoke", "--set", "told={}", "--seed", "5", "--out", "runs/other"]) == 0
    capsys.readouterr()
    for model, told in {
        "runs/digits": ["--condition", "label=3"],
        "runs/unlabelled": ["--weaker", "runs/other", "--guidance", "2"],
    }.items():
        line = [*how, *told, "--json", "-n", "2"]
        label = ["--label", "3"] if model == "runs/digits" else []
        edited = ["edit", "inpaint", model, "digit.png", "--mask", "full.png", *how, *label, "--json", "-n", "2"]
        extra = told if not label else []
        assert run([*edited, *extra, "--out", f"{model[5:]}.png"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said.get("weaker") == ("runs/other" if extra else None)
        assert run(["sample", model, *line, "--out", f"{model[5:]}.npz"]) == 0
        capsys.readouterr()
        drawn = np.concatenate(list(np.load(f"{model[5:]}.npz")["arr_0"][..., 0]), axis=1)
        assert (pixels(f"{model[5:]}.png") == drawn).all()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("edit vary runs/unlabelled digit.png --prompt star", "without captions: leave the prompt out"),
        ("edit vary runs/unlabelled digit.png --condition angle=3", "This model is told no 'angle'"),
        ("edit vary runs/digits digit.png --label 3 --condition label=1,2", "not several of label"),
        ("edit vary runs/unlabelled digit.png --scale 2", "none is given"),
    ],
)
def test_what_an_edit_cannot_be_told_is_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    assert run(line.split()) == 2
    out, error = capsys.readouterr()
    assert said in error and error.count("\n") == 1 and not out
