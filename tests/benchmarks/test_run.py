from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.contenders import USUAL, missing

ROOT = Path(__file__).parents[2]


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}, timeout=600
    )


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
        assert 0 < floor["seconds"] < first["step"]["min"]
        for row in workload["contenders"]:
            assert row["contender"] in done.stdout
            assert len(row["step"]["rounds"]) == len(row["sample"]["rounds"]) == 2
            assert 2e8 < row["peak_bytes"] < 4e9


@pytest.mark.slow
def test_time_to_quality_measures_each_contender_at_each_mark(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(120, 28, 28, 1), dtype=np.uint8)
    np.savez(tmp_path / "noise.npz", images=pixels, labels=np.arange(120) % 10)
    arguments = [
        "--data",
        str(tmp_path / "noise.npz"),
        "--seconds",
        "0.1",
        "0.2",
        "--samples",
        "4",
        "--steps",
        "2",
    ]
    done = _run(
        "benchmarks.time_to_quality", *arguments, "--out", str(tmp_path), UNSTIR_CACHE=str(tmp_path / "cache")
    )
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.json")
    points = json.loads(path.read_text())["points"]
    names = [name for name in ("unstir", "diffusers", "ddpm-pytorch") if not missing(name)]
    assert [point["contender"] for point in points] == [name for name in names for _ in range(2)]
    for point in points:
        assert point["fcd"] > 0 and point["seconds"] >= 0.1
        assert ("accuracy" in point) == (point["contender"] != "ddpm-pytorch")
    assert path.with_suffix(".png").stat().st_size > 5000


def test_a_set_that_is_not_there_is_a_reason_to_skip() -> None:
    done = _run("benchmarks.time_to_quality", "--data", "nowhere/mnist")
    assert done.returncode == 1
    assert "time_to_quality is skipped: " in done.stderr and "nowhere/mnist" in done.stderr
