"""Stopped and resumed equals uninterrupted, whatever stops it and when."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from driver import metrics, tensors

NETWORKS = {
    "unet": (),
    "plain": ("network.kind=plain", "network.channels=[8, 16]", "network.embedding=8"),
    "fully_connected": ("network.kind=fully_connected", "network.widths=[32, 16]"),
    "bound": (
        "network.kind=fully_connected",
        "network.widths=[32, 16]",
        "diffusion.objective=bound",
        "diffusion.variance=learned",
        "diffusion.schedule.learned=true",
        "diffusion.schedule.steps=12",
        "diffusion.times=importance",
        "sampling.sampler=ddpm",
        "sampling.sampler.variance=learned",
    ),
    "masking": (
        "network.channels=[8, 8]",
        "diffusion.schedule.name=single",
        "diffusion.corruption=masking",
        "diffusion.parameterization=x0",
        "diffusion.objective=x0",
    ),
    "degraded": (
        "network.channels=[8, 8]",
        "data.degradations=[inpainting, jpeg]",
        "told={degraded: {kind: picture}, task: {kind: classes}}",
    ),
    "classifier": ("model.kind=classifier", "model.precision=float32"),
    "codec": (
        "model.kind=codec",
        "model.precision=float32",
        "network.channels=[8, 8]",
        "perceptual.network=none",
        "adversary.after=200",  # between the second quarter and the third
        "adversary.discriminator.channels=[8, 8]",
    ),
    "diffae": (
        "model.kind=diffae",
        "model.precision=float32",
        "network.channels=[8, 8]",
        "network.attention=[none, none]",
        "network.blocks=1",
        "encoder.channels=[8, 8]",
        "encoder.features=4",
    ),
    "two turns": ("model.kind=rivals", "model.precision=float32"),
}
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, finish: Callable[..., int]) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp("whole") / name for name in NETWORKS}
    for name, settings in NETWORKS.items():
        assert finish(folders[name], settings) == 0
    return folders


def test_an_uninterrupted_run_logs_every_step_once(uninterrupted: dict[str, Path]) -> None:
    lines = metrics(uninterrupted["unet"])
    assert [line["step"] for line in lines] == list(range(4, 25, 4))
    assert [line["images"] for line in lines] == list(range(64, 385, 64))
    assert len(list((uninterrupted["unet"] / "samples").glob("*.png"))) == 6


def test_what_is_learned_beside_the_network_is_in_the_checkpoint(uninterrupted: dict[str, Path]) -> None:
    first, last = (sorted((uninterrupted["bound"] / "checkpoints").glob(f"{name}*"))[-1] for name in ("q", "step"))
    before, after = tensors(first), tensors(last)
    logits = "denoiser.schedule.logits"
    for key in (f"model.{logits}", f"average.{logits}", "memory.losses", "memory.counts"):
        assert not torch.equal(before[key], after[key]), key
    assert after["memory.counts"].sum() == 24 * 16
    counts = after["memory.counts"]
    assert counts.min() >= 10 and counts.max() > 50  # importance ruled the last steps
    model = tensors(uninterrupted["bound"] / "model.safetensors")
    assert torch.equal(model[logits], after[f"average.{logits}"])
    assert not [key for key in model if "losses" in key or "counts" in key]
    lines = metrics(uninterrupted["bound"])
    assert all({"loss", "unweighted_loss"} <= line.keys() for line in lines)
    assert all(line["loss"] != line["unweighted_loss"] for line in lines[-1:])


def test_an_adversary_that_begins_between_two_checkpoints(uninterrupted: dict[str, Path]) -> None:
    folder = uninterrupted["codec"]
    begun = [bool(line["adversarial_weight"]) for line in metrics(folder)]
    assert begun == [line["images"] > 208 for line in metrics(folder)]
    quarters = [tensors(folder / f"checkpoints/quarter-{i}.safetensors") for i in (1, 2, 3)]
    assert [int(quarter["memory.seen"]) for quarter in quarters] == [128, 192, 320]
    weights = [quarter["model.discriminator.stem.weight"] for quarter in quarters]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])
    assert not [key for key in tensors(folder / "model.safetensors") if "seen" in key]


def test_checkpoints_kept_are_the_newest_two_and_the_quarters(uninterrupted: dict[str, Path]) -> None:
    for folder in uninterrupted.values():
        names = {path.name for path in (folder / "checkpoints").iterdir()}
        steps = {name for name in names if name.startswith("step-")}
        assert names - steps == {f"quarter-{i}.safetensors" for i in (1, 2, 3)}
        assert len(steps) == 2
        assert max(steps) == "step-000000024.safetensors"


@pytest.mark.parametrize("network", NETWORKS)
def test_killed_in_the_middle_of_every_kind_of_write(
    network: str, uninterrupted: dict[str, Path], finish: Callable[..., int], same_run: Any, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    # The first dies in a checkpoint with none before it, the second in its model, the others further on.
    for write in (1, 2, 5) if network == "unet" else (3,):
        assert finish(out, NETWORKS[network], dies_in_write=write) == KILLED
    assert finish(out, NETWORKS[network]) == 0
    same_run(out, uninterrupted[network])


@pytest.mark.parametrize(
    "network",
    [
        name if name in ("unet", "classifier") else pytest.param(name, marks=pytest.mark.slow)
        for name in NETWORKS
        if name != "two turns"  # which is over at once
    ],
)
def test_killed_at_any_moment(
    network: str,
    uninterrupted: dict[str, Path],
    spawn: Callable[..., BaseProcess],
    finish: Callable[..., int],
    same_run: Any,
    tmp_path: Path,
) -> None:
    out, chance, killed = tmp_path / "run", random.Random(network), 0
    for _ in range(4):
        process = spawn(out, NETWORKS[network])
        before = _size(out / "metrics.jsonl")
        deadline = time.monotonic() + 60
        while process.is_alive() and _size(out / "metrics.jsonl") <= before and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.02 if network == "classifier" else 0.1))  # which is over sooner
        process.kill()
        process.join()
        killed += process.exitcode == KILLED
        if process.exitcode == 0:
            break
    assert killed >= 2
    assert finish(out, NETWORKS[network]) == 0
    same_run(out, uninterrupted[network])


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_the_next_start_goes_on(
    number: int,
    uninterrupted: dict[str, Path],
    spawn: Callable[..., BaseProcess],
    finish: Callable[..., int],
    same_run: Any,
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    stopped = 0
    for lines in (1, 4):
        process = spawn(out, checkpoint_seconds=1e9)  # saves only when told to stop, or at a quarter
        while process.is_alive() and (not _size(out / "metrics.jsonl") or len(metrics(out)) < lines):
            time.sleep(0.001)
        assert process.pid
        os.kill(process.pid, number)
        process.join(60)
        assert process.exitcode in (0, 3)
        stopped += process.exitcode == 3
    assert stopped
    assert finish(out) == 0
    same_run(out, uninterrupted["unet"], pictures=False)


def test_files_left_by_a_killed_process_go(finish: Callable[..., int], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert finish(out, ("training.images=64",), dies_in_write=1) == KILLED
    assert list(out.rglob("*partial*"))
    assert finish(out, ("training.images=64",)) == 0
    assert not list(out.rglob("*partial*"))


def test_the_same_command_after_the_end_changes_nothing(
    uninterrupted: dict[str, Path], finish: Callable[..., int], tmp_path: Path, same_run: Any
) -> None:
    out = shutil.copytree(uninterrupted["unet"], tmp_path / "run")
    assert finish(out) == 0
    same_run(out, uninterrupted["unet"])


def test_a_larger_budget_goes_on(
    uninterrupted: dict[str, Path], finish: Callable[..., int], tmp_path: Path
) -> None:
    out = shutil.copytree(uninterrupted["unet"], tmp_path / "run")
    assert finish(out, ("training.images=512",)) == 0
    assert [line["step"] for line in metrics(out)] == list(range(4, 33, 4))
