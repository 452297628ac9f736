"""Each wrong input gets one sentence and exit code 2, at once, without torch, and nothing is written."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Listing = Callable[[Path], dict[str, tuple[int, int]]]

SECONDS = 8.0
"""Far more than it takes (0.4 s), for a machine that is busy; what counts is that torch is not imported."""

CASES = {
    # recipes, data and budgets
    "train": "Missing argument",
    "trian digits": "train",
    "train digitz": "'digits'",
    "train images": "--data",
    "train images --data missing": "'missing'",
    "train images --data ./missing": "'./missing'",
    "train images --data empty": "empty",
    "train images --data texts": "no image",
    "train digits --data minst": "'mnist'",
    "train digits --data ''": "--data is empty",
    "train digits --data file": "is a file",
    "train digits --set data.source=missing": "'missing'",
    "train digits --for soon": "90s, 30m or 1h30m",
    "train digits --for 30": "90s, 30m or 1h30m",
    "train digits --for 0s": "0s",
    "train digits --for -5m": "-5m",
    "train digits --images many": "2M",
    "train digits --images 0": "'0'",
    "train digits --images -3": "'-3'",
    "train digits --for 1m --images 2M": "not both",
    "train digits --smoke --images 2M": "--smoke",
    "train digits --seed -1": "--seed",
    # settings
    "train digits --set trainning.batch=3": "'training.batch'",
    "train digits --set training.bach=3": "'training.batch'",
    "train digits --set training.batch": "key=value",
    "train digits --set training.batch=many": "training.batch",
    "train digits --set training.batch=-4": "training.batch",
    "train digits --set training.learning_rate=fast": "training.learning_rate",
    "train digits --set network=small": "network.channels",
    "train digits --set network.kind=transformer": "network",
    "train digits --set network.channels=[]]": "network.channels",
    "train digits --set sampling.sampler.eta=2": "sampling.sampler.eta",
    "train digits --set diffusion.objective=hybrid": "variance=learned",
    "train digits --set sampling.sampler=ddpm --set sampling.sampler.variance=learned": "diffusion.variance=learned",
    "train digits --set training.seconds=null": "in images or in seconds",
    "train digits --set told.label.dropout=0": "told.label.dropout above 0",
    "train digits --set diffusion.schedule.name=ladder --set diffusion.schedule.steps=1": "at least 2 steps",
    # where to
    "train digits --smoke --out file": "is a file",
    "train digits --smoke --out file/run": "is a file",
    "train digits --smoke --out texts": "holds other files",
    "train digits --out runs/digits": "network.channels",
    "train digits --smoke --seed 3 --out runs/digits": "seed is 0, not 3",
    "train digits --smoke --set training.batch=4 --out runs/digits": "training.batch is 8, not 4",
    "train digits --dry-run --out texts": "holds other files",
    # samples
    "sample": "Missing argument",
    "sample missing": "missing",
    "sample empty": "config.yaml",
    "sample photos": "config.yaml",
    "sample file": "file",
    "sample runs/digits --steps -5": "steps",
    "sample runs/digits --steps 0": "steps",
    "sample runs/digits --steps 1001": "1000",
    "sample runs/digits --steps few": "integer",
    "sample runs/digits --stesp 5": "--steps",
    "sample runs/digits --sampler ddmi": "sampler",
    "sample runs/digits --spacing even": "spacing",
    "sample runs/digits --eta 1.5": "eta",
    "sample runs/digits --eta 0.5 --sampler ddpm": "the sampler ddim",
    "sample runs/digits --variance large": "the sampler ddpm",
    "sample runs/digits --churn 2": "the sampler euler or heun",
    "sample runs/digits --sampler heun --churn -1": "churn",
    "sample runs/digits --sampler heun --churn-min 2 --churn-max 1": "lies above",
    "sample runs/digits --sampler heun --order 2": "the sampler unipc",
    "sample runs/digits --sampler unipc --order 4": "order",
    "sample runs/digits --schedule linaer": "schedule",
    "sample runs/digits --schedule linear --steps 1001": "linear schedule has 1000",
    "sample runs/digits --epsilon 0.1": "the sampler langevin",
    "sample runs/digits --updates 3": "the sampler langevin or pc",
    "sample runs/digits --sampler pc --epsilon 0.1": "the sampler langevin",
    "sample runs/digits --sampler pc --snr 0": "snr",
    "sample runs/digits --sampler pc --predictor ddpm": "predictor",
    "sample runs/digits --sampler ddpm --variance learned": "diffusion.variance=learned",
    "sample runs/digits --guidance -1": "guidance",
    "sample runs/digits --guidance nan": "guidance",
    "sample runs/digits --clip hard": "clip",
    "sample runs/digits -n 0": "-n",
    "sample runs/digits --batch 0": "--batch",
    "sample runs/digits --seed -1": "--seed",
    "sample runs/digits --label 10": "out of range",
    "sample runs/digits --label -1": "out of range",
    "sample runs/digits --label seven": "seven",
    "sample runs/digits --label 1,,2": "--label",
    "sample runs/digits --label 1,2,3 -n 2": "3 classes",
    "sample runs/unlabelled --label 3": "without labels",
    "sample runs/unlabelled --guidance 2": "labels",
    "sample runs/digits --out texts/letter.txt": "is there already",
    "sample runs/digits --out texts": "holds files",
    "sample runs/digits --out file": "is a file",
    "sample runs/digits --out file/x.png": "is a file",
    "sample runs/digits --out x.pgn": ".png",
    # figures
    "evaluate missing": "missing",
    "evaluate runs/digits --metrics fdc": "'fcd'",
    "evaluate runs/digits -n 1": "-n",
    "evaluate runs/digits --metrics bdp": "'bpd'",
    "evaluate runs/digits --metrics bpd --terms 0": "--terms",
    "evaluate runs/digits --data missing": "'missing'",
    "evaluate runs/digits --data faces": "no labels",
    "evaluate runs/digits --steps 2000": "1000",
    # a denoising autoencoder
    "sample runs/dae": "use unstir edit clean",
    "evaluate runs/dae": "use unstir edit clean",
    "show reverse runs/dae": "use unstir edit clean",
    "show levels runs/dae": "one level of noise",
    "train mnist-dae --set diffusion.corruption=blur": "diffusion.corruption",
    "train mnist-dae --set diffusion.corruption=masking --set diffusion.schedule.amount=2": "share of pixels",
    "train digits --set diffusion.corruption=masking": "mnist-dae",
    # edits
    "edit": "Missing command",
    "edit cleam runs/dae photos/1.png": "'clean'",
    "edit clean runs/dae": "IMAGE",
    "edit clean missing photos/1.png": "missing",
    "edit clean runs/dae missing.png": "no image at missing.png",
    "edit clean runs/dae file": "cannot be read as an image",
    "edit clean runs/dae photos": "cannot be read as an image",
    "edit clean runs/dae photos/1.png --sigma 25": "leave sigma out",
    "edit clean runs/digits photos/1.png": "--sigma 25",
    "edit clean runs/digits photos/1.png --sigma -1": "--sigma 25",
    "edit clean runs/dae photos/1.png --out photos/2.png": "is there already",
    "edit clean runs/dae photos/1.png --out x.txt": "must end in .png",
    # pictures of ideas
    "show": "Missing command",
    "show schedule": "'schedules'",
    "show schedules --out texts/letter.txt": "is there already",
    "show schedules --out x.gif": "must end in .png, .jpg, .svg or .pdf",
    "show forward missing": "'missing'",
    "show forward empty": "is empty",
    "show forward missing.png": "missing.png",
    "show reverse missing": "missing",
    "show reverse runs/digits --label 12": "out of range",
    "show reverse runs/unlabelled --label 1": "without labels",
    "show reverse runs/digits -n 0": "-n",
    "show reverse runs/digits --out x.mp4": ".gif",
    "show levels runs/digits --out file/x.png": "is a file",
    "demo --for soon": "90s",
    "demo --out texts": "holds other files",
    "recipes digits": "digits",
}


@pytest.fixture(scope="session")
def without_torch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which importing torch fails, loudly."""
    package = tmp_path_factory.mktemp("path") / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('torch was imported')")
    return {"PYTHONPATH": os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")])}


def refused(answer: subprocess.CompletedProcess[str], expected: str) -> None:
    assert "Traceback" not in answer.stderr, answer.stderr
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr.count("\n") == 1, answer.stderr
    assert answer.stderr.startswith("unstir: ")
    assert answer.stderr.rstrip().endswith((".", "?"))
    assert expected in answer.stderr
    assert answer.stdout == ""


@pytest.mark.parametrize("line", CASES)
def test_one_sentence_at_once(
    line: str, workplace: Path, command: Command, listing: Listing, without_torch: dict[str, str]
) -> None:
    before, began = listing(workplace), time.monotonic()
    answer = command(*shlex.split(line), folder=workplace, env=without_torch)
    assert time.monotonic() - began < SECONDS
    refused(answer, CASES[line])
    assert listing(workplace) == before


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("left", [0, 4, 200])
def test_damaged_model(left: int, workplace: Path, command: Command, without_torch: dict[str, str]) -> None:
    model = workplace / "runs/digits/model.safetensors"
    model.write_bytes(model.read_bytes()[:left])
    for run in ("runs/digits", "runs/digits/model.safetensors"):
        refused(command("sample", run, folder=workplace, env=without_torch), "model.safetensors is damaged")


def test_damaged_checkpoint(
    workplace: Path, command: Command, listing: Listing, without_torch: dict[str, str]
) -> None:
    older, newest = sorted((workplace / "runs/digits/checkpoints").glob("step-*"))
    cut_short(newest)
    before = listing(workplace)
    answer = command("train", "digits", "--smoke", "--out", "runs/digits", folder=workplace, env=without_torch)
    refused(answer, f"remove it to go on from {older.name}")
    assert newest.name in answer.stderr
    assert listing(workplace) == before


def test_other_safetensors_are_no_model(workplace: Path, command: Command, without_torch: dict[str, str]) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3, np.float32)}, workplace / "bare.safetensors")
    save_file({"weight": np.zeros(3, np.float32)}, workplace / "other.safetensors", {"config": "{not json"})
    for name in ("bare", "other"):
        answer = command("sample", f"{name}.safetensors", folder=workplace, env=without_torch)
        refused(answer, "does not hold an unstir model")


def test_broken_configuration(workplace: Path, command: Command, without_torch: dict[str, str]) -> None:
    (workplace / "runs/digits/config.yaml").write_text("recipe: [digits\n  seed: 0\n")
    refused(command("sample", "runs/digits", folder=workplace, env=without_torch), "config.yaml cannot be read")


def test_a_folder_changed_since(workplace: Path, command: Command) -> None:
    first = ["train", "images", "--data", "photos", "--smoke", "--out", "runs/photos"]
    assert command(*first, folder=workplace).returncode == 0
    (workplace / "photos/3.png").unlink()
    answer = command(*first, "--set", "training.images=64", folder=workplace)
    assert answer.returncode == 2
    assert "changed since" in answer.stderr
    assert "Traceback" not in answer.stderr


def give_up_privileges() -> None:
    """Take from root the right to read and write everything: permissions then hold for it as for anyone."""
    if os.getuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs permissions as on Unix")
@pytest.mark.parametrize(
    ("closed", "mode", "line", "expected"),
    [
        ("photos", 0o000, "train images --data photos", "photos"),
        ("texts", 0o500, "train digits --smoke --out texts/run", "permission"),
        ("texts", 0o500, "sample runs/digits --out texts/x.png", "permission"),
        ("runs/digits", 0o500, "evaluate runs/digits", "permission"),
        ("runs/digits/samples", 0o500, "sample runs/digits", "permission"),
        ("runs/digits", 0o000, "sample runs/digits", "runs/digits"),
        ("runs/digits", 0o000, "train digits --smoke --out runs/digits", "runs/digits"),
        ("runs", 0o000, "sample runs/digits", "runs/digits"),
        ("runs/digits/model.safetensors", 0o000, "sample runs/digits", "model.safetensors"),
    ],
)
def test_permissions(
    closed: str,
    mode: int,
    line: str,
    expected: str,
    workplace: Path,
    command: Command,
    listing: Listing,
    without_torch: dict[str, str],
) -> None:
    before = listing(workplace)
    usual = (workplace / closed).stat().st_mode
    (workplace / closed).chmod(mode)
    try:
        answer = command(*line.split(), folder=workplace, env=without_torch, preexec_fn=give_up_privileges)
    finally:
        (workplace / closed).chmod(usual)
    refused(answer, expected)
    assert listing(workplace) == before
