"""One file that is a model: it draws alone what the run draws, and nothing is overwritten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from unstir.cli.main import run


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    return workplace


def seen(count: int) -> object:
    """Return what the encoder could have seen in so many images, of which no two are alike."""
    import torch

    return torch.randn(count, 64, generator=torch.Generator().manual_seed(0))


def content(path: str) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return what a model file says and its weights; the order in which they are written is any."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return file.metadata(), {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


def test_a_file_alone_is_the_plan(here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import unstir

    assert run(["export", "runs/plan", "--out", "plan.safetensors"]) == 0
    assert capsys.readouterr().out == "The model is in plan.safetensors, with its part encoder inside\n"
    before = unstir.load("runs/plan")
    drawn = before.sample(4, told={"seen": seen(4)}, steps=3)  # type: ignore[attr-defined]
    assert run(["sample", "runs/plan", "-n", "4", "--steps", "3", "--out", "run.npz"]) == 0

    alone = tmp_path / "elsewhere"
    alone.mkdir()
    (here / "plan.safetensors").rename(alone / "mine.safetensors")
    shutil.rmtree(here / "runs")
    model = unstir.load(alone / "mine.safetensors")
    assert (model.sample(4, told={"seen": seen(4)}, steps=3).tensor == drawn.tensor).all()  # type: ignore[attr-defined]
    for name, weight in before.parts["encoder"].state_dict().items():
        assert (model.parts["encoder"].state_dict()[name] == weight).all()
    file = str(alone / "mine.safetensors")
    assert run(["sample", file, "-n", "4", "--steps", "3", "--out", "file.npz"]) == 0
    np.testing.assert_array_equal(np.load("file.npz")["arr_0"], np.load("run.npz")["arr_0"])
    # What was exported is a model in all things: it is exported again, and it is a part for others.
    assert run(["export", file, "--out", "again.safetensors"]) == 0
    assert content("again.safetensors") == content(file)


def test_a_flipped_bit_of_a_part_inside_is_noticed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors import safe_open

    assert run(["export", "runs/plan", "--out", "plan.safetensors"]) == 0
    with safe_open("plan.safetensors", framework="numpy") as file:
        name = "parts.encoder.head.bias"
        wanted = file.get_tensor(name).tobytes()
    content = Path("plan.safetensors").read_bytes()
    at = content.index(wanted)
    Path("plan.safetensors").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    capsys.readouterr()
    assert run(["sample", "plan.safetensors", "-n", "1", "--steps", "1"]) == 2
    assert "plan.safetensors is damaged" in capsys.readouterr().err


def test_a_model_without_parts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "runs/digits", "--out", "new/digits.safetensors", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"run": "runs/digits", "out": "new/digits.safetensors", "kind": "denoiser", "parts": []}
    for number, model in enumerate(("runs/digits", said["out"])):
        assert run(["sample", model, "-n", "3", "--steps", "2", "--out", f"{number}.npz"]) == 0
    np.testing.assert_array_equal(np.load("0.npz")["arr_0"], np.load("1.npz")["arr_0"])


def test_what_is_there_stays(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.safetensors").write_text("mine")
    assert run(["export", "runs/digits", "--out", "x.safetensors"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert Path("x.safetensors").read_text() == "mine"
