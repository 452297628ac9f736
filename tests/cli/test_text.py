"""Captions at the command: a run is told them, ``--prompt`` draws from one, what is wrong is one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unstir.cli.main import run

Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def encoder(make_encoder: Callable[..., Path]) -> list[str]:
    """The options that choose a small encoder."""
    folder = make_encoder()
    return ["--set", f"told.caption.encoder={folder}", "--set", f"told.gist.encoder={folder}"]


@pytest.fixture(scope="module")
def trained(encoder: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run on a folder of captioned pictures."""
    folder = tmp_path_factory.mktemp("captioned")
    for i, colour in enumerate(["red", "blue", "green"] * 6):
        Image.fromarray(np.full((32, 32, 3), 10 * i, np.uint8)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"a big {colour} star")
    out = folder / "runs" / "x"
    assert run(["train", "emoji-text", "--data", str(folder), "--smoke", *encoder, "--out", str(out)]) == 0
    return out


def test_a_prompt_says_what_is_drawn(trained: Path, encoder: list[str], tmp_path: Path, capsys: Said) -> None:
    out = tmp_path / "drawn"
    asked = ["--prompt", "a red star", "--prompt", "a blue star", "-n", "3", "--json"]
    assert run(["sample", str(trained), *asked, "--out", f"{out}/"]) == 0
    assert json.loads(capsys.readouterr().out)["prompts"] == ["a red star", "a blue star"]
    assert sorted(path.name for path in out.iterdir()) == [
        "0-a_red_star.png",
        "1-a_blue_star.png",
        "2-a_red_star.png",
    ]
    assert run(["sample", str(trained), "-n", "2", "--out", f"{tmp_path}/without.png"]) == 0
    assert "Drawn without a prompt: --prompt 'a text' says what is to be seen" in capsys.readouterr().out
    assert list(trained.glob("samples/*.png"))  # told the captions of held-out pictures
    assert run(["train", "emoji-text", "--data", str(trained.parents[1]), "--smoke", *encoder, "--dry-run"]) == 0
    assert "speed: " in capsys.readouterr().out


def test_codes_are_drawn_from_a_prompt(trained: Path, encoder: list[str], tmp_path: Path, capsys: Said) -> None:
    own = [text.replace("told.", "drawing.told.") for text in encoder]
    out = ["--out", str(tmp_path / "plan")]
    assert run(["train", "emoji-latent-text", "--data", str(trained.parents[1]), "--smoke", *own, *out]) == 0
    drawn = tmp_path / "drawn.png"
    assert run(["sample", out[1], "--prompt", "a red star", "-n", "2", "--out", str(drawn)]) == 0
    assert sorted(Image.open(drawn).size) == [66 + 2, 2 * 66 + 2]


def test_what_is_wrong_is_said_in_a_sentence(
    trained: Path, encoder: list[str], tmp_path: Path, capsys: Said
) -> None:
    def refused(*arguments: str) -> str:
        assert run([*arguments]) == 2
        return capsys.readouterr().err

    asked = ["sample", str(trained), "--prompt", "a star", "--prompt", "a circle"]
    assert "2 prompts were given, and -n asks for 1 images" in refused(*asked, "-n", "1")
    assert "A prompt is a text, such as 'a red apple'" in refused("sample", str(trained), "--prompt", "")
    assert "Guidance strengthens what the model is told" in refused("sample", str(trained), "--guidance", "3")
    for i in range(6):
        Image.fromarray(np.full((32, 32, 3), 10 * i, np.uint8)).save(tmp_path / f"{i}.png")
    bare = [
        "train",
        "emoji-text",
        "--data",
        str(tmp_path),
        "--smoke",
        *encoder,
        "--out",
        str(tmp_path / "runs" / "y"),
    ]
    assert "is to be told caption, and the data has no caption: give images with captions" in refused(*bare)
    assert not (tmp_path / "runs" / "y").exists()
    assert "There is no folder './none' with a text encoder" in refused(
        *["train", "emoji-text", "--data", str(trained.parents[1]), "--smoke", "--out", str(tmp_path / "z")],
        *["--set", "told.caption.encoder=./none"],
    )
