"""A codec is trained, measured and asked for reconstructions by the same commands as any model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unstir.cli.main import run


def test_a_codec_is_trained_measured_and_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train = ["train", "cifar10-codec", "--smoke", "--out", "runs/codec", "--set", "regularization.kind=vq"]
    assert run(train) == 0
    assert run(train) == 0  # is done
    pictures = sorted(Path("runs/codec/samples").glob("*.png"))
    assert pictures and Image.open(pictures[-1]).height > 4 * 2 * 32  # four rows in twos
    assert run(["edit", "reconstruct", "runs/codec", str(pictures[-1])]) == 0
    capsys.readouterr()

    assert run(["evaluate", "runs/codec", "-n", "8", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["images"] == 8 and figures["codes"] == [4, 8, 8]
    assert 0 < figures["psnr"] < 60 and 0 < figures["distance"] <= 2 and figures["fd"] > 0
    assert 0 < figures["codes_in_use"] <= 1
    assert Image.open(figures["picture"]).mode == "RGB"
    assert Path(figures["saved"]).name == "reconstruction-n8-seed0.json"

    for number, size in enumerate([(37, 50), (8, 5)]):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"{number}.png")
    assert run(["edit", "reconstruct", "runs/codec", "0.png", "1.png", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["images"]
    assert [Image.open(one["out"]).size for one in told] == [(50, 37), (5, 8)]
    assert [Path(one["out"]).name for one in told] == ["0-reconstructed.png", "1-reconstructed.png"]
    saved = np.asarray(Image.open(told[0]["out"])).astype(float)
    error = ((saved - np.asarray(Image.open("0.png"))) ** 2).mean()
    assert told[0]["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)

    latent = ["train", "cifar10", "--smoke", "--part", "codec=runs/codec", "--out", "runs/latent"]
    assert run([*latent, "--set", "data.size=32", "--set", "data.channels=3"]) == 0
    assert run(["edit", "reconstruct", "runs/latent", "1.png"]) == 0
    alike = [np.asarray(Image.open(f"runs/{name}/edits/1-reconstructed.png")) for name in ("codec", "latent")]
    assert np.array_equal(*alike)
    capsys.readouterr()

    for words, message in (
        (["sample", "runs/codec"], "is a codec and cannot draw images"),
        (["evaluate", "runs/codec", "--steps", "5"], "--steps is for drawing images"),
        (["evaluate", "runs/codec", "--metrics", "fd"], "cannot draw images"),
        (["evaluate", "runs/latent", "--metrics", "bpd"], "this model draws codes"),
        (
            ["edit", "reconstruct", "runs/codec", "0.png", "1.png", "--out", "x.png"],
            "is one file, and there are 2",
        ),
        (["edit", "reconstruct", "runs/codec", "2.png"], "2.png"),
        (["train", "emoji-codec"], "needs --data FOLDER"),
        (
            ["train", "cifar10-codec", "--smoke", "--set", "perceptual.network=lpips@/nowhere"],
            "nothing at /nowhere",
        ),
        (
            ["train", "cifar10-codec", "--smoke", "--set", "perceptual.network=classifier"],
            "needs a part 'classifier'",
        ),
    ):
        assert run(words) == 2, words
        assert message in capsys.readouterr().err


def test_a_model_without_codes_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for recipe, message in (
        ("digits", "cannot encode images"),
        ("mnist-vae", "asked of a codec, and this model is a variational"),
    ):
        assert run(["train", recipe, "--smoke", "--out", recipe]) == 0
        Image.new("L", (8, 8)).save("x.png")
        capsys.readouterr()
        assert run(["edit", "reconstruct", recipe, "x.png"]) == 2
        assert message in capsys.readouterr().err
        assert run(["evaluate", recipe, "--metrics", "reconstruction"]) == 2
