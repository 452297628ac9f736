"""Losses that are no numbers, budgets in seconds, and several processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import driver
import pytest
import torch
from driver import metrics, tensors

from unstir.data.dataset import Splits
from unstir.errors import InputError
from unstir.training import loop
from unstir.training.config import Config
from unstir.training.learner import Learner, make_objective
from unstir.training.run import load

MakeConfig = Callable[..., Config]


def _train(config: Config, out: Path, splits: Splits) -> Path:
    return loop.train(config, out, splits, time.monotonic())


def _poison(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Make the loss of step ``at`` (the first is 1) no number."""
    loss, calls = Learner._loss, 0

    def poisoned(self: Learner, *arguments: Any) -> torch.Tensor:
        nonlocal calls
        calls += torch.is_grad_enabled()
        value = loss(self, *arguments)
        return value * float("nan") if calls == at and torch.is_grad_enabled() else value

    monkeypatch.setattr(Learner, "_loss", poisoned)


@pytest.mark.parametrize("at", [9, 10, 12])
def test_a_loss_that_is_no_number_stops_at_its_step(
    at: int, make_config: MakeConfig, digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = make_config("training.log_every=4"), tmp_path / "run"
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    _poison(monkeypatch, at)
    with pytest.raises(InputError, match=rf"at step {at}; the last checkpoint in .*learning rate below 0\.0002"):
        _train(config, out, digits)
    newest = sorted((out / "checkpoints").glob("step-*"))[-1]
    assert int(newest.stem.removeprefix("step-")) <= 8
    for path in (newest, out / "model.safetensors"):
        assert all(value.isfinite().all() for value in tensors(path).values())
    assert load(out).sample(2, steps=2).tensor.isfinite().all()
    monkeypatch.undo()
    _train(config, out, digits)  # the poison was not the configuration's: the same command goes on
    assert metrics(out)[-1]["step"] == 24


def test_a_wild_learning_rate_stops_and_spoils_no_model(
    make_config: MakeConfig, digits: Splits, tmp_path: Path
) -> None:
    config, out = make_config("training.learning_rate=1e30", "training.warmup=0"), tmp_path / "run"
    with pytest.raises(
        InputError, match=r"stopped being a number at step [23]; no checkpoint had been saved: try"
    ):
        _train(config, out, digits)
    assert not (out / "model.safetensors").exists()


def test_interrupted_before_the_first_step_is_saved_and_goes_on(
    make_config: MakeConfig, digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = make_config("training.images=64"), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(loop._Training, "status", lambda self: (0.0, True))
        with pytest.raises(loop.Interrupted):
            _train(config, out, digits)
    assert load(out).sample(1, steps=2).tensor.isfinite().all()
    _train(config, out, digits)
    assert metrics(out)[-1]["step"] == 4


def test_a_conditional_recipe_with_guidance_trains_without_labels(
    make_config: MakeConfig, digits: Splits, tmp_path: Path
) -> None:
    config = make_config("training.images=64", "sampling.guidance=0.5", "conditional=false")
    assert _train(config, tmp_path / "run", digits).exists()


def test_guidance_without_hidden_labels_is_refused_before_training(
    make_config: MakeConfig, digits: Splits, tmp_path: Path
) -> None:
    settings = ["training.images=64", "training.label_dropout=0"]
    with pytest.raises(InputError, match=r"Guidance above 0 needs training\.label_dropout"):
        _train(make_config(*settings, "sampling.guidance=0.5"), tmp_path / "run", digits)
    assert not (tmp_path / "run").exists()
    assert _train(make_config(*settings), tmp_path / "run", digits).exists()


def test_more_sampling_steps_than_levels_are_refused_before_training(
    make_config: MakeConfig, digits: Splits, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="50 steps were asked for, and the model's schedule has 20"):
        _train(make_config("diffusion.schedule.steps=20", "sampling.steps=50"), tmp_path / "run", digits)
    assert not (tmp_path / "run").exists()


def test_fp16_on_a_cpu_is_refused(make_config: MakeConfig, digits: Splits) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match=r"precision=fp16 needs a GPU"):
        Learner(make_config("training.precision=fp16"), digits)


def test_the_objective_knows_the_deviation_of_the_images(make_config: MakeConfig) -> None:
    config = make_config(
        "diffusion.parameterization=karras", "diffusion.objective=karras", "diffusion.sigma_data=0.25"
    )
    schedule = loop.Learner(make_config(), None).model.schedule  # type: ignore[arg-type]
    level = schedule.level(500)
    torch.testing.assert_close(make_objective(config, schedule).weight(level), level.snr + 16)  # type: ignore[attr-defined]


# Budgets in seconds


def _python(*args: str, timeout: float = 120) -> float:
    began = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *args], env=environment, timeout=timeout, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return time.monotonic() - began


SECONDS = ("training.precision=auto", "training.log_every=20", "training.warmup=10", "sampling.steps=20")


def test_a_budget_in_seconds_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "run"
    seconds = 14
    took = _python(driver.__file__, str(out), "60", f"training.seconds={seconds}", *SECONDS)
    assert 0.5 * seconds < took < seconds + 0.5  # the half second: starting and ending python itself
    lines = metrics(out)
    rates = [line["learning_rate"] for line in lines]
    assert max(rates) == pytest.approx(2e-4, rel=0.01)
    assert rates[-1] < 0.03 * max(rates)
    run = load(out)
    assert run.config.training.seconds == seconds
    assert run.sample(4).tensor.isfinite().all()


def test_a_budget_spent_before_the_first_step_makes_no_model(
    make_config: MakeConfig, digits: Splits, tmp_path: Path
) -> None:
    config, out = make_config("training.seconds=5"), tmp_path / "run"
    with pytest.raises(InputError, match="budget was spent before the first step; give more with --for"):
        loop.train(config, out, digits, time.monotonic() - 5)
    assert not (out / "model.safetensors").exists()
    _train(make_config("training.images=64"), out, digits)  # the folder takes the same run under a larger one
    assert metrics(out)[-1]["step"] == 4


def test_slow_sampling_does_not_break_a_budget_in_seconds(
    make_config: MakeConfig, digits: Splits, tmp_path: Path
) -> None:
    began = time.monotonic()
    config = make_config("training.seconds=12", "sampling.sampler=ddpm", "sampling.steps=1000")
    loop.train(config, tmp_path / "run", digits, began)
    assert time.monotonic() - began < 12


def test_killed_under_a_budget_in_seconds_the_time_carries_over(
    spawn: Callable[..., BaseProcess], finish: Callable[..., int], tmp_path: Path
) -> None:
    out, settings = tmp_path / "run", ("training.seconds=8", "training.log_every=5", "sampling.steps=4")
    spent = 0.0
    for _ in range(2):
        process, began = spawn(out, settings, checkpoint_seconds=0.2), time.monotonic()
        time.sleep(2)
        process.kill()
        process.join()
        spent += time.monotonic() - began
    began = time.monotonic()
    assert finish(out, settings) == 0
    last = time.monotonic() - began
    # The time between the last checkpoint and a kill is lost, and no other.
    assert 8 - spent - 2.5 < last < 8 - spent + 2.5
    lines = metrics(out)
    assert [line["step"] for line in lines] == sorted({line["step"] for line in lines})
    assert lines[-1]["seconds"] < 8
    assert lines[-1]["learning_rate"] < 0.03 * 2e-4


# Several processes


LEARNING_MORE = (
    "diffusion.objective=bound",
    "diffusion.schedule.learned=true",
    "diffusion.schedule.steps=8",
    "diffusion.times=importance",
)
"""The betas, and which times to look at."""


@pytest.mark.parametrize(
    ("batch", "more"), [(16, ()), (15, LEARNING_MORE), pytest.param(15, (), marks=pytest.mark.slow)]
)
def test_two_processes_equal_one(
    batch: int, more: tuple[str, ...], finish: Callable[..., int], tmp_path: Path
) -> None:
    settings = (
        *more,
        f"training.batch={batch}",
        f"training.images={batch * 40}",
        "network.dropout=0",
        "training.log_every=1",
    )
    assert finish(tmp_path / "one", settings) == 0
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    # Checkpoints when the main process's clock says so; were the other not told, they would wait for each other.
    _python(*launch, driver.__file__, str(tmp_path / "two"), "0", *settings, timeout=60)
    assert {path.name for path in tmp_path.glob("two-rank*")} == {"two-rank-0-of-2", "two-rank-1-of-2"}
    name = "checkpoints/step-000000040.safetensors"
    left, right = tensors(tmp_path / "one" / name), tensors(tmp_path / "two" / name)
    assert left.keys() == right.keys()
    for key, value in left.items():
        torch.testing.assert_close(right[key], value, rtol=1e-3, atol=1e-5, msg=key)
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for a, b in zip(one, two, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
        assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=1e-3)
    assert sorted(p.name for p in (tmp_path / "two" / "samples").iterdir()) == sorted(
        p.name for p in (tmp_path / "one" / "samples").iterdir()
    )
