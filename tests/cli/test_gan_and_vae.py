"""A GAN and a variational autoencoder are trained, drawn from and measured by the same commands as any model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unstir.cli.main import run


@pytest.mark.parametrize("kind", ["gan", "vae"])
def test_the_commands_know_no_difference(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    where = f"runs/mnist-{kind}"
    assert run(["train", f"mnist-{kind}", "--smoke", "--out", where]) == 0
    assert run(["train", f"mnist-{kind}", "--smoke", "--out", where]) == 0  # is done
    assert run(["sample", where, "-n", "3", "--label", "7", "--out", "drawn/"]) == 0
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["0-7.png", "1-7.png", "2-7.png"]
    capsys.readouterr()
    assert run(["evaluate", where, "-n", "60", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["fcd"] > figures["fcd_floor"] > 0
    assert figures["recall"] < figures["recall_ceiling"] <= 1
    assert 1 <= figures["classes"] <= 10
    assert figures["samples"] == 60 and figures["data"] == "digits"
    assert Path(figures["saved"]).name == "at-once-n60-seed0.json"
    assert run(["sample", where, "--steps", "5"]) == 2
    assert "draws at once: it takes no steps" in capsys.readouterr().err
    assert run(["evaluate", where, "--metrics", "bpd"]) == 2
    assert run(["show", "levels", where]) == 2


def test_dry_run_counts_and_times_both_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = ["generator.channels=[8,8]", "discriminator.channels=[8,8]", "latent=4", "training.batch=8"]
    line = ["train", "mnist-gan", "--data", "digits", "--dry-run", "--json"]
    assert run([*line, *(part for setting in tiny for part in ("--set", setting))]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["config"]["model"]["generator"]["channels"] == [8, 8]
    assert values["images_per_second"] > 0 and values["measured_batch"] == 8
