"""Killed at each system call that changes a file, a command that is given again ends as if never killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unstir.kernels.library import library

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What counts a program's changes of files, and ends it at one of them."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if sys.platform != "linux" or not compiler:
        pytest.skip("needs Linux and a C compiler, to come between a program and the system")
    path = tmp_path_factory.mktemp("kills") / "kills.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", str(HERE / "kills.c"), "-o", path, "-ldl"], check=True)
    return path


def _killed(scenario: str, preloaded: Path, folder: Path, first: int, step: int, own_cache: Path) -> None:
    """Run a scenario, killed at every ``step``-th change of a file from ``first`` on."""
    library()  # compiled once, in the cache of the tests
    start = folder / "start" / "cache"
    shutil.copytree(own_cache / "kernels", start / "kernels")
    for measured in own_cache.glob("processor-*.json"):  # measured anew, another number format might be chosen
        shutil.copy(measured, start)
    done = subprocess.run(
        [sys.executable, HERE / "driver.py", scenario, folder, str(first), str(step)],
        env={**os.environ, "LD_PRELOAD": str(preloaded), "OMP_NUM_THREADS": "1", "UNSTIR_CACHE": str(start)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["changes"] > 5 and len(found["points"]) >= found["changes"] // step
    print(f"{scenario}: {found['changes']} changes of files, killed at {len(found['points'])}")
    assert found["wrong"] == {}


@pytest.mark.parametrize(
    ("scenario", "first", "step"),
    [
        pytest.param("train", 5, 20, marks=pytest.mark.slow),
        pytest.param("resume", 12, 25, marks=pytest.mark.slow),
        ("png", 1, 4),
    ],
)
def test_killed_now_and_then(
    scenario: str, first: int, step: int, preloaded: Path, tmp_path: Path, own_cache: Path
) -> None:
    _killed(scenario, preloaded, tmp_path, first, step, own_cache)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["train", "resume", "png", "npz", "export"])
def test_killed_at_every_change(scenario: str, preloaded: Path, tmp_path: Path, own_cache: Path) -> None:
    _killed(scenario, preloaded, tmp_path, 1, 1, own_cache)


@pytest.mark.slow
def test_a_plan_killed_at_every_fifth_change(preloaded: Path, tmp_path: Path, own_cache: Path) -> None:
    _killed("plan", preloaded, tmp_path, 1, 5, own_cache)
