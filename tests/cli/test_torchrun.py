"""The documented command for several processes: they are one run, and end as one."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from unstir.tensors import read_tensors

DOCS = Path(__file__).parents[2] / "docs" / "training.md"
TINY = (
    "--smoke --set training.images=96 --set training.batch=12 --set training.log_every=2 --set precision=float32"
)


def _launcher() -> list[str]:
    """Return what the docs put before ``train``, on the path of this environment."""
    (line,) = re.findall(r"^(torchrun .* -m unstir) train ", DOCS.read_text(), re.MULTILINE)
    command = shlex.split(line)
    assert "--nproc_per_node 2" in line
    return [str(Path(sys.executable).with_name(command[0])), *command[1:]]


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return subprocess.Popen(
        [*_launcher(), "train", "digits", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PET_MASTER_PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for_a_step(job: subprocess.Popen[Any], out: Path) -> None:
    log, until = out / "metrics.jsonl", time.monotonic() + 120
    while not (log.exists() and log.read_text()) and time.monotonic() < until and job.poll() is None:
        time.sleep(0.05)


def _workers(job: subprocess.Popen[str]) -> list[int]:
    """Return the processes that train, by number."""
    lines = subprocess.run(["ps", "--ppid", str(job.pid), "-o", "pid="], capture_output=True, text=True).stdout
    return [int(line) for line in lines.split()]


@pytest.mark.slow
def test_two_processes_are_one_run(tmp_path: Path) -> None:
    job = _start(tmp_path, *TINY.split(), "--out", "two")
    out, err = job.communicate(timeout=300)
    assert job.returncode == 0, err
    first, second, *_, last = out.splitlines()
    assert first == "Training digits for 96 images, in two"
    assert " on 2 x 1 CPU thread in float32" in second
    assert last.startswith("The run is in two")
    alone = [sys.executable, "-m", "unstir", "train", "digits", *TINY.split(), "--out", "one"]
    subprocess.run(alone, cwd=tmp_path, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True)
    steps = [json.loads(line)["step"] for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2, 4, 6, 8]
    one, two = (read_tensors(tmp_path / name / "model.safetensors")[1] for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: name + text)


@pytest.mark.slow
def test_one_that_is_killed_ends_all_in_a_sentence_and_the_command_goes_on(tmp_path: Path) -> None:
    long = [*TINY.split(), "--set", "training.images=10000000", "--out", "two"]
    job = _start(tmp_path, *long)
    _wait_for_a_step(job, tmp_path / "two")
    workers = _workers(job)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    _, err = job.communicate(timeout=60)
    assert job.returncode != 0
    ours = [line for line in err.splitlines() if "rank0" in line or line.startswith("unstir:")]
    assert ours == [
        "unstir: Another process of this job has ended: what it said tells why, and the same command goes on."
    ]
    finished = _start(tmp_path, *long[:-4], "--set", "training.images=24", "--out", "two")
    _, err = finished.communicate(timeout=300)
    assert finished.returncode == 0, err


@pytest.mark.slow
def test_the_second_of_two_trainings_in_one_folder_is_refused(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "unstir", "train", "digits", *TINY.split(), "--out", "run"]
    line += ["--set", "training.images=10000000"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    job = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _wait_for_a_step(job, tmp_path / "run")
    before = {path for path in (tmp_path / "run").rglob("*")}
    for arguments in (line[4:], [*line[4:], "--set", "seed=1"]):
        second = subprocess.run(
            [*line[:4], *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert second.returncode == 2
        assert second.stderr.startswith(
            "unstir: run is in use: another process trains in it; wait for it, or name"
        )
        assert second.stderr.count("\n") == 1
    assert before <= {path for path in (tmp_path / "run").rglob("*")}
    job.kill()
    job.wait()
    third = subprocess.run(
        [*line[:-1], "training.images=24"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert third.returncode == 0, third.stderr
