"""A full disk stops training with a clear error, spoils nothing, and costs nothing once there is room again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from driver import tensors

SHORT = ("training.images=128", "training.log_every=1")
ONCE = ("training.images=48", "training.log_every=1")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, finish: Callable[..., int]) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert finish(out, SHORT) == 0
    return out


def _intact(out: Path) -> None:
    for path in [*(out / "checkpoints").iterdir(), *out.glob("*.safetensors")]:
        assert tensors(path)
    assert not list(out.rglob("*partial*"))


def test_a_limit_on_file_size(uninterrupted: Path, finish: Callable[..., int], tmp_path: Path) -> None:
    out, error = tmp_path / "run", tmp_path / "error.txt"
    size = (uninterrupted / "checkpoints" / "step-000000008.safetensors").stat().st_size
    assert finish(out, ONCE) == 0
    assert finish(out, SHORT, file_limit=size // 2) == 2  # no checkpoint can be written any more
    assert "step-0000000" in error.read_text()
    assert "could not be written" in error.read_text()
    _intact(out)
    assert sorted((out / "checkpoints").glob("step-*"))[-1].name == "step-000000003.safetensors"
    assert finish(out, SHORT) == 0
    newest, other = (sorted((o / "checkpoints").glob("step-*"))[-1] for o in (out, uninterrupted))
    assert newest.name == other.name


def test_a_log_that_cannot_be_written(finish: Callable[..., int], tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = ("training.images=640", "training.log_every=1")
    assert finish(out, settings, file_limit=1500, checkpoint_seconds=1e9) == 2
    assert "could not be written" in (tmp_path / "error.txt").read_text()
    assert not list(out.rglob("*partial*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk: Path, finish: Callable[..., int]) -> None:
    out, ballast = small_disk / "run", small_disk / "ballast"
    half = ("training.images=64", "training.log_every=1")
    assert finish(out, half) == 0
    checkpoint = tensors(out / "checkpoints" / "step-000000004.safetensors")
    room = os.statvfs(small_disk)
    ballast.write_bytes(
        b"x" * (room.f_bavail * room.f_bsize - 60_000)
    )  # less than a checkpoint, more than the log
    for _ in range(2):  # again and again, until there is room
        assert finish(out, SHORT) == 2
        message = (small_disk / "error.txt").read_text()
        assert "could not be written" in message
        assert "No space left on device" in message
        _intact(out)
        again = tensors(out / "checkpoints" / "step-000000004.safetensors")
        assert all(again[key].equal(value) for key, value in checkpoint.items())
    ballast.unlink()
    assert finish(out, SHORT) == 0
    assert (out / "checkpoints" / "step-000000008.safetensors").exists()


def test_filled_midway_and_freed_the_run_equals_an_uninterrupted_one(
    small_disk: Path, uninterrupted: Path, finish: Callable[..., int], same_run: Any
) -> None:
    out, ballast = small_disk / "run", small_disk / "ballast"
    size = (uninterrupted / "checkpoints" / "step-000000008.safetensors").stat().st_size
    room = os.statvfs(small_disk)
    # Room for two checkpoints, the model and the log, but not for the third checkpoint beside them.
    ballast.write_bytes(b"x" * max(0, room.f_bavail * room.f_bsize - int(3.1 * size)))
    assert finish(out, SHORT) == 2
    _intact(out)
    assert 1 <= len(list((out / "checkpoints").glob("step-*"))) < 3
    ballast.unlink()
    assert finish(out, SHORT) == 0
    same_run(out, uninterrupted)
