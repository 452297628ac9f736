"""Whether pictures of scenes show what their captions state, by command: which captions are drawn from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unstir.cli.main import run
from unstir.data.shapes.captions import caption, parse
from unstir.data.shapes.scenes import scene
from unstir.evaluation import scenes

Said = pytest.CaptureFixture[str]
HELD_OUT = {("red", "circle"), ("blue", "square"), ("green", "triangle")}
HELD_OUT |= {("yellow", "cross"), ("purple", "star"), ("orange", "heart")}


@pytest.mark.slow
def test_captions_of_both_kinds_are_drawn_from_and_read(
    make_encoder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, out = make_encoder(), tmp_path / "x"
    encoder = ["--set", f"told.caption.encoder={folder}", "--set", f"told.gist.encoder={folder}"]
    assert run(["train", "shapes-text", "--smoke", *encoder, "--out", str(out)]) == 0
    asked: list[str] = []

    class Perfect:
        """Sees the first two scenes, whatever was drawn."""

        def read(self, images: Tensor) -> Tensor:
            assert images.shape[1:] == (3, 32, 32)
            return torch.stack([scenes.truth([one])[0] for one in (scene(0), scene(1))])

    add = scenes.Rightness.add

    def noting(self: scenes.Rightness, answers: Tensor, captions: list[str]) -> None:
        asked.extend(captions)
        add(self, answers, captions)

    monkeypatch.setattr(scenes, "scene_reader", Perfect)
    monkeypatch.setattr(scenes.Rightness, "add", noting)
    capsys.readouterr()
    assert run(["evaluate", str(out), "--metrics", "attributes", "-n", "2", "--steps", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {*said["attributes"]} == {"seen", "held-out"} and said["captions"] == {"seen": 2, "held-out": 2}
    pairs = [{(one.get("colour"), one.get("kind")) for one in parse(text).shapes.values()} for text in asked]
    assert not (pairs[0] | pairs[1]) & HELD_OUT and pairs[2] & HELD_OUT and pairs[3] & HELD_OUT
    assert asked[0] == caption(scene(0), 0)
    assert said["attributes"]["seen"]["whole"] == 0.5  # of the second the last scene was asked for
    assert json.loads(Path(said["saved"]).read_text())["attributes"] == said["attributes"]
