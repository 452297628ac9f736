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
    line = ["train", "mnist-dae", "--data", "digits", "--images", "5k", *settings, "--out", str(out)]
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
