"""Runs the real command in a process of its own, and trains one tiny run for all tests to use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session", autouse=True)
def cache(own_cache: Path) -> Iterator[Path]:
    """A cache of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSTIR_CACHE", str(own_cache))
        patch.setenv("COLUMNS", "200")
        yield own_cache


@pytest.fixture(scope="session")
def command(cache: Path) -> Command:
    """Run ``unstir`` with arguments, in a folder; further options go to ``subprocess.run``."""

    def run(*arguments: str, folder: Path, **options: object) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | options.pop("env", {})  # type: ignore[operator]
        return subprocess.run(
            [sys.executable, "-m", "unstir", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            **options,  # type: ignore[call-overload]
        )

    return run


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``unstir`` with arguments, in a folder: in this process, which has imported torch."""
    from unstir.cli.main import run

    def run_here(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(folder)
        capsys.readouterr()
        code = run([*arguments])
        said = capsys.readouterr()
        return subprocess.CompletedProcess(list(arguments), code, said.out, said.err)

    return run_here


@pytest.fixture(scope="session")
def without_torch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which importing torch fails, loudly."""
    package = tmp_path_factory.mktemp("path") / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('torch was imported')")
    return {"PYTHONPATH": os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")])}


FORKS = """
import contextlib, gc, json, os, sys
from unstir.cli.main import main, run
with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
    for line in ("train digits --for x", "train digits --data x", "sample x", "evaluate x", "show forward x"):
        run(line.split())  # which imports what such commands do
gc.freeze()  # a fork that collected it at its end would copy all that memory
for line in sys.stdin:
    folder, out, err, *arguments = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(folder)
        for number, path in ((0, os.devnull), (1, out), (2, err)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
        sys.argv[1:] = arguments
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="session")
def forked(
    cache: Path, without_torch: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Command]:
    """Run ``unstir`` with arguments, in a folder: in a fork of one process that has imported what commands do.

    To import it anew for each of some hundred lines would take minutes.
    """
    said = tmp_path_factory.mktemp("said")
    with subprocess.Popen(
        [sys.executable, "-c", FORKS],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | without_torch,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdin is not None and parent.stdout is not None

        def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
            out, err = said / "out", said / "err"
            for path in (out, err):
                path.write_text("")
            print(json.dumps([str(folder), str(out), str(err), *arguments]), file=parent.stdin, flush=True)
            code = int(parent.stdout.readline())
            return subprocess.CompletedProcess(list(arguments), code, out.read_text(), err.read_text())

        yield run


@pytest.fixture(scope="session")
def trained(cache: Path, once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A folder with tiny runs of the digits: ``runs/digits``, by label, ``runs/unlabelled``, ``runs/dae``, and a
    plan's, ``runs/plan``; and what is left of others.
    """
    from unstir.cli.main import run

    def fill(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            assert run(["train", "digits", "--smoke", "--out", "runs/digits"]) == 0
            unlabelled = ["--set", "told={}", "--out", "runs/unlabelled"]
            assert run(["train", "digits", "--smoke", *unlabelled]) == 0
            assert run(["train", "mnist-dae", "--smoke", "--out", "runs/dae"]) == 0
            assert run(["train", "digits-variations", "--smoke", "--out", "runs/plan"]) == 0
        for name, stages in {
            "other-plan": "codec: emoji\nprior: emoji\n",
            "same-stages": "encoder: emoji\ndrawing: emoji\n",
            "begun-plan": "encoder: digits-variations\ndrawing: digits-variations\n",
            "broken-plan": "encoder\n",
        }.items():
            (folder / "runs" / name).mkdir()
            (folder / "runs" / name / "plan.yaml").write_text(stages)

    return once("trained", fill)


@pytest.fixture
def workplace(trained: Path, tmp_path: Path) -> Path:
    """A copy of those runs beside odd folders and files, to be used at will."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "letter.txt").write_text("no image")
    (tmp_path / "file").write_text("a file")
    photos(tmp_path / "photos", 12)
    photos(tmp_path / "one", 1)
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / "digit.png")
    Image.fromarray(np.repeat([0, 255], 32).reshape(8, 8).astype(np.uint8)).save(tmp_path / "mask.png")
    return tmp_path


def photos(folder: Path, count: int) -> None:
    """Write distinct colour pictures, 20 pixels high and 24 wide."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for i in range(count):
        Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / f"{i}.png")


@pytest.fixture(scope="session")
def listing() -> Callable[[Path], dict[str, tuple[int, int]]]:
    """Everything beneath a folder, files with size and time, which tell whether anything was written."""

    def everything(folder: Path) -> dict[str, tuple[int, int]]:
        found = {str(path.relative_to(folder)): path for path in [folder, *folder.rglob("*")]}
        seen = {name: path.lstat() for name, path in found.items() if path.is_file()}
        return {name: (seen[name].st_size, seen[name].st_mtime_ns) if name in seen else (0, 0) for name in found}

    return everything
