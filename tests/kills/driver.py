"""Runs one command many times, each in a fork of this process, which dies at a chosen change of a file.

Run as ``python driver.py SCENARIO FOLDER FIRST STEP`` with the library of ``kills.c`` preloaded. Prints one JSON
object: how many changes there are, at which the process was killed, and what went wrong, by the change.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

KILLS = ctypes.CDLL(None)

TINY = ("--set", "network.channels=[8,8]", "--set", "network.attention=[none,none]", "--set", "precision=float32")
TINY += ("--set", "training.batch=8", "--set", "training.log_every=1", "--set", "sampling.steps=2")
TRAIN = ("train", "images", "--data", "../photos", "--set", "data.size=8", *TINY)

SCENARIOS: dict[str, tuple[tuple[str, ...], ...]] = {
    "train": ((*TRAIN, "--images", "24"),),
    "resume": ((*TRAIN, "--images", "16"), (*TRAIN, "--images", "32")),
    "plan": (("train", "digits-variations", "--smoke", "--out", "runs/images"),),
    "png": ((*TRAIN, "--images", "16"), ("sample", "runs/images", "-n", "3", "--out", "drawn/x.png")),
    "npz": ((*TRAIN, "--images", "16"), ("sample", "runs/images", "-n", "3", "--out", "drawn/x.npz")),
    "export": ((*TRAIN, "--images", "16"), ("export", "runs/images", "--out", "drawn/x.safetensors")),
}
"""By name, commands; the last one is killed."""


def main(scenario: str, folder: Path, first: int, step: int) -> None:
    os.chdir(folder)
    (folder / "start").mkdir(exist_ok=True)
    photographs(folder / "photos")
    warm()
    *before, command = SCENARIOS[scenario]
    os.environ["UNSTIR_CACHE"] = str(folder / "cache")
    for each in before:
        assert run(folder / "start", each) == 0, (folder / "start.txt").read_text()
    whole = copied(folder, "whole")
    code, changes = counted(whole, command)
    assert code == 0, (folder / "whole.txt").read_text()
    wanted = state(whole)
    wrong: dict[int, str] = {}
    points = [*range(first, changes + 1, step)]
    for point in points:
        place = copied(folder, f"killed-{point}")
        assert run(place, command, point) == -9, point
        said = unfinished(place, wanted)
        code = run(place, command)
        if code != 0 and "is there already" not in place.with_suffix(".txt").read_text():
            said = said or place.with_suffix(".txt").read_text()
        said = said or different(state(place), wanted)
        if said:
            wrong[point] = said
        else:
            shutil.rmtree(place)
    print(json.dumps({"changes": changes, "points": points, "wrong": wrong}))


def warm() -> None:
    """Load all that the commands need, once for all forks, and leave no thread behind."""
    modules = "cli.train cli.sample cli.export data.load models.samples recipes training.loop training.preview"
    for name in ("torch.utils.tensorboard", *(f"unstir.{name}" for name in modules.split())):
        importlib.import_module(name)
    from unstir.kernels.library import library

    library()


def photographs(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(random.integers(0, 255, (9, 10, 3)).astype(np.uint8)).save(folder / f"{i}.png")


def copied(folder: Path, name: str) -> Path:
    """Return a copy of the start, with an own cache."""
    shutil.copytree(folder / "start", folder / name)
    return folder / name


def run(place: Path, command: tuple[str, ...], dies_at: int = 0) -> int:
    return counted(place, command, dies_at)[0]


def counted(place: Path, command: tuple[str, ...], dies_at: int = 0) -> tuple[int, int]:
    """Run a command in a fork; return its exit code, or the signal that ended it, below 0, and its changes."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        from unstir.cli import carrying_out
        from unstir.cli.main import run

        carrying_out.BEGAN = time.monotonic()  # not when this one began, of which it is a fork
        os.chdir(place)
        os.environ["UNSTIR_CACHE"] = str(place / "cache")
        said = os.open(place.with_suffix(".txt"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        KILLS.kills_arm(f"{place}/runs:{place}/drawn:{place}/cache".encode(), dies_at)
        code = 99
        try:
            code = run(command)
        finally:
            sys.stdout.flush()
            os.write(write, str(KILLS.kills_count()).encode())
            os._exit(code)
    os.close(write)
    changes = os.read(read, 100).decode()
    os.close(read)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(changes or 0)


def state(place: Path) -> dict[str, Any]:
    """Return all that is in the folders, in a form that is equal where it should be."""
    found: dict[str, Any] = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if name.startswith("drawn/.partial"):  # a hidden folder that the next one who writes there removes
            continue
        if path.is_file() and not path.name.startswith(("events.out", "processor-")):  # which tell of the time
            found[name] = FORMS.get(path.name, _form(path))(path)
        elif path.is_dir() and ".partial" in name:
            found[name] = "a folder that is left over"
    return found


def _form(path: Path) -> Callable[[Path], Any]:
    if path.suffix == ".safetensors" and "checkpoints" in path.parts:
        return checkpoint
    return Path.read_bytes


def checkpoint(path: Path) -> Any:
    """Return a checkpoint without the seconds that it took."""
    from unstir.tensors import read_about

    about = read_about(path)
    position = {key: value for key, value in about.told["position"].items() if key not in ("elapsed", "reserve")}
    return about.hash, position


def log(path: Path) -> Any:
    """Return the lines of a log without the seconds that it took."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in lines]


FORMS: dict[str, Callable[[Path], Any]] = {"metrics.jsonl": log}


def unfinished(place: Path, wanted: dict[str, Any]) -> str:
    """Return what a run that says that it is finished lacks, just after the kill."""
    for name, value in wanted.items():
        path = place / name
        if (
            path.match("checkpoints/step-*")
            and value[1]["finished"]
            and path.exists()
            and checkpoint(path) == value
        ):
            for other, whole in wanted.items():
                due = path.parent.parent in (place / other).parents and not other.endswith((".yaml", ".jsonl"))
                if due and "checkpoints" not in other:
                    there = place / other
                    if not there.exists() or there.read_bytes() != whole:
                        return f"said to be finished without its {other}"
    return ""


def different(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Return the first thing that differs from the run that was not killed."""
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            kind = "more" if name not in wanted else "missing" if name not in found else "different"
            return f"{kind}: {name} {str(found.get(name))[:300]} {str(wanted.get(name))[:300]}"
    return ""


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
