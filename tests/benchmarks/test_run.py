from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.contenders import USUAL, missing

from benchmarks import time_to_quality
from unstir.models.samples import Samples

ROOT = Path(__file__).parents[2]
HUNG = 3600
"""Seconds after which a benchmark is taken to hang: beside other work on two cores it may take a quarter hour."""


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}, timeout=HUNG
    )


def _noise(folder: Path) -> str:
    """Save images of noise with the shape and the labels of MNIST; return where."""
    pixels = np.random.default_rng(0).integers(0, 256, size=(120, 1, 28, 28), dtype=np.uint8)
    np.savez(folder / "noise.npz", images=pixels, labels=np.arange(120) % 10)
    return str(folder / "noise.npz")


@pytest.mark.slow
def test_one_run_gives_one_table_and_one_file(tmp_path: Path) -> None:
    done = _run("benchmarks", "--quick", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.json")
    tiny, mnist = json.loads(path.read_text())["workloads"]
    present = [name for name in USUAL if not missing(name)]
    assert [row["contender"] for row in tiny["contenders"]] == present
    assert [row["contender"] for row in mnist["contenders"]] == ["unstir", "unstir-float32"]
    for workload in (tiny, mnist):
        floor, first = workload["floor"], workload["contenders"][0]
        assert floor["flops"] == pytest.approx(first["flops"], rel=0.02)
        # Not which of the two is longer: they are timed one after the other, and others may come between.
        assert floor["seconds"] >= sum(row["seconds"] for row in floor["costliest"]) > 0 < first["step"]["min"]
        for row in workload["contenders"]:
            assert row["contender"] in done.stdout
            assert len(row["step"]["rounds"]) == len(row["sample"]["rounds"]) == 2
            assert 2e8 < row["peak_bytes"] < 4e9


@pytest.mark.slow
def test_time_to_quality_measures_each_contender_at_each_mark_and_adds_to_its_file(tmp_path: Path) -> None:
    path = tmp_path / "quality.json"
    data, samples = ("--data", _noise(tmp_path)), ("--samples", "4", "--steps", "2")

    def points(*arguments: str) -> list[dict[str, Any]]:
        cache = str(tmp_path / "cache")
        module = "benchmarks.time_to_quality"
        done = _run(module, *data, *samples, "--out", str(path), *arguments, UNSTIR_CACHE=cache)
        assert done.returncode == 0, done.stderr
        kept: list[dict[str, Any]] = json.loads(path.read_text())["points"]
        for point in kept:
            assert f"{point['fcd']:.2f}" in done.stdout.split("FCD of 4 digits")[1]
        return kept

    names = [name for name in ("unstir", "diffusers", "ddpm-pytorch") if not missing(name)]
    peers = points("--minutes", "0.05", "0.1", "--contenders", *reversed(names[1:]))
    assert [(point["contender"], point["minutes"]) for point in peers] == [
        (name, mark) for name in names[1:] for mark in (0.05, 0.1)
    ]
    for early, late in zip(peers[::2], peers[1::2]):
        assert early["seconds"] >= 3 and late["seconds"] >= 6 and late["images"] > early["images"] > 0
    both = points("--minutes", "0.2", "--contenders", "unstir")
    assert both[1:] == peers and both[0]["contender"] == "unstir" and both[0]["images"] > 0
    assert [p["contender"] for p in both if "accuracy" in p] == ["unstir"] + ["diffusers"] * 2 * (
        "diffusers" in names
    )
    assert path.with_suffix(".png").stat().st_size > 5000


def test_a_mark_at_which_a_contender_has_diverged_is_kept_without_a_distance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Diverged:
        images, seconds = 64, 0.5

        def train(self, seconds: float) -> None:
            assert seconds == 30

        def sample(self, count: int, steps: int) -> Samples:
            return Samples(torch.full((count, 1, 28, 28), torch.nan))

    monkeypatch.setattr(time_to_quality, "mnist_peer", lambda name, data: Diverged())
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "quality.json"
    args = Namespace(data=_noise(tmp_path), minutes=[0.5], samples=4, steps=2, out=out)
    known = {"contender": "unstir", "minutes": 0.5, "seconds": 30.0, "images": 9, "fcd": 12.0, "fcd_floor": 3.0}
    machine = {"gpu": "one", "processor": "", "cores": 1}
    time_to_quality._contend("diffusers", args, {"machine": machine, "samples": 4, "points": [known]})
    report = json.loads(out.read_text())
    assert report["points"][0] == known and report["points"][1]["fcd"] is None
    time_to_quality._show(report)
    time_to_quality._plot(report, out.with_suffix(".png"))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["unstir", "12.00"] in rows and ["diffusers", "diverged"] in rows and ["real", "digits", "3.00"] in rows


@pytest.mark.slow
def test_figures_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    out, cache = tmp_path / "quality.json", str(tmp_path / "cache")
    out.write_text('{"data": "another set", "samples": 1000, "steps": 60, "points": []}')
    arguments = ("--data", _noise(tmp_path), "--out", str(out))
    done = _run("benchmarks.time_to_quality", *arguments, UNSTIR_CACHE=cache)
    assert done.returncode == 1 and f"--out {out} holds figures of other --data" in done.stderr


@pytest.mark.slow
def test_images_that_are_no_digits_are_refused_before_any_training(tmp_path: Path) -> None:
    np.savez(tmp_path / "small.npz", images=np.zeros((20, 1, 20, 20), np.uint8), labels=np.arange(20) % 2)
    done = _run("benchmarks.time_to_quality", "--data", str(tmp_path / "small.npz"), UNSTIR_CACHE=str(tmp_path))
    assert done.returncode == 1 and "images of (1, 20, 20), not labelled digits of (1, 28, 28)" in done.stderr


def test_a_set_that_is_not_there_is_a_reason_to_skip() -> None:
    done = _run("benchmarks.time_to_quality", "--data", "nowhere/mnist")
    assert done.returncode == 1
    assert "time_to_quality is skipped: " in done.stderr and "nowhere/mnist" in done.stderr
