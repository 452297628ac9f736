"""Losses that are no numbers, budgets in seconds, and several processes."""

from __future__ import annotations

import os
import signal
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
import yaml
from driver import metrics, tensors
from PIL import Image
from rich.progress import Progress

from unstir.data.dataset import ImageData, Splits
from unstir.errors import InputError
from unstir.models.denoiser import DenoiserModel
from unstir.models.file import load
from unstir.training import loop
from unstir.training.config import Begun, Config
from unstir.training.learner import Learner
from unstir.training.run_folder import RunFolder, check_only_run
from unstir.training.start import check_out, check_same, with_data

MakeConfig = Callable[..., Config]


def _train(config: Config, out: Path, splits: Splits) -> Path | None:
    return loop.train(config, out, splits, time.monotonic())


def _poison(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Make the loss of step ``at`` (the first is 1) no number."""
    losses, calls = DenoiserModel.losses, 0

    def poisoned(self: DenoiserModel, *arguments: Any) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += torch.is_grad_enabled()
        found = losses(self, *arguments)
        return {"loss": found["loss"] * float("nan")} if calls == at and torch.is_grad_enabled() else found

    monkeypatch.setattr(DenoiserModel, "losses", poisoned)


@pytest.mark.parametrize("at", [9, *(pytest.param(at, marks=pytest.mark.slow) for at in (10, 12))])
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
    config, out = make_config("training.learning_rate=1e6", "training.warmup=0"), tmp_path / "run"
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


def test_the_progress_bar_moves_at_every_step(
    make_config: MakeConfig, digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[float] = []
    monkeypatch.setattr(Progress, "update", lambda self, task, **new: shown.append(new["completed"]))
    _train(make_config("training.images=96", "training.log_every=4"), tmp_path / "run", digits)
    assert [*dict.fromkeys(shown)] == pytest.approx([step / 6 for step in range(1, 7)])


def test_a_recipe_with_guidance_trains_without_labels(
    make_config: MakeConfig, digits: Splits, tmp_path: Path
) -> None:
    config = make_config("training.images=64", "sampling.guidance=0.5", "told={}")
    path = _train(config, tmp_path / "run", digits)
    assert path and path.exists()


def test_guidance_without_hidden_labels_is_refused_before_training(
    make_config: MakeConfig, digits: Splits, tmp_path: Path
) -> None:
    settings = ["training.images=64", "told.label.dropout=0"]
    with pytest.raises(InputError, match=r"Guidance above 0 needs told\.label\.dropout"):
        _train(make_config(*settings, "sampling.guidance=0.5"), tmp_path / "run", digits)
    assert not (tmp_path / "run").exists()
    path = _train(make_config(*settings), tmp_path / "run", digits)
    assert path and path.exists()


def test_more_sampling_steps_than_levels_are_refused_before_training(
    make_config: MakeConfig, digits: Splits, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="50 steps were asked for, and the model's schedule has 20"):
        _train(make_config("diffusion.schedule.steps=20", "sampling.steps=50"), tmp_path / "run", digits)
    assert not (tmp_path / "run").exists()


def test_fp16_on_a_cpu_is_refused(make_config: MakeConfig, make_learner: Callable[..., Learner]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match=r"precision=fp16 needs a GPU"):
        make_learner(make_config("precision=fp16"))


def test_a_run_in_bfloat16_is_in_bfloat16_and_draws_in_it(
    make_config: MakeConfig, digits: Splits, tmp_path: Path
) -> None:
    _train(make_config("precision=bf16", "training.images=64"), tmp_path, digits)
    model = load(tmp_path)
    assert model.config.precision == "bf16"
    lowered = model.lowered()
    assert lowered is not model
    assert {p.dtype for p in lowered.parameters()} == {torch.bfloat16, torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_what_the_data_does_not_have_is_not_told(make_config: MakeConfig, digits: Splits, tmp_path: Path) -> None:
    """A run whose recipe tells it the label, on images without, is one without; and goes on as that."""
    bare = Splits(*(ImageData.from_array(data.pixels) for data in (digits.train, digits.held_out)))
    config, out = make_config("training.images=64"), tmp_path / "run"
    _train(config, out, bare)
    model = load(out)
    assert model.config.told == {}
    assert model.sample(2, steps=2).labels is None
    check_out(config, out)
    check_same(with_data(config, bare.train, out), out)
    _train(make_config("training.images=128"), out, bare)
    assert metrics(out)[-1]["step"] == 8
    with pytest.raises(InputError, match="holds a run on other images"):
        check_same(with_data(config, digits.train, out), out)


def test_the_folder_holds_what_was_asked_for_and_the_model_what_it_is(
    make_config: MakeConfig, digits: Splits, tmp_path: Path
) -> None:
    config, out = make_config("training.images=64", "seed=5"), tmp_path / "run"
    _train(config, out, digits)
    written = yaml.safe_load((out / "config.yaml").read_text())
    begun = {"gflops": None, "budget": None, "arithmetic": {"cpu": "float32"}}
    assert written == config.asked() | {"fingerprint": digits.train.fingerprint, "begun": begun}
    assert written["seed"] == 5
    assert written["model"]["samples"] == {"bounded": True}
    label = {"kind": "classes", "socket": None, "of": None, "column": None, "encoder": "", "dropout": 0.1}
    assert written["model"]["told"] == {"label": label}
    seen = {"fingerprint": digits.train.fingerprint, "begun": Begun(arithmetic={"cpu": "float32"})}
    assert RunFolder(out).read_config() == config.model_copy(update=seen)
    model = load(out).config
    assert model.samples.shape == (1, 8, 8)
    assert model.told["label"].classes == tuple("0123456789")
    assert model == with_data(config, digits.train, out).model


def test_a_run_goes_on_by_its_configuration_file_alone(
    make_config: MakeConfig, digits: Splits, same_run: Callable[..., None], tmp_path: Path
) -> None:
    config = make_config("training.images=128")
    _train(config, tmp_path / "whole", digits)
    _train(RunFolder(tmp_path / "whole").read_config(), tmp_path / "again", digits)
    same_run(tmp_path / "whole", tmp_path / "again")
    _train(RunFolder(tmp_path / "whole").read_config(), tmp_path / "whole", digits)
    same_run(tmp_path / "whole", tmp_path / "again")


def test_each_step_has_its_rate_and_pictures_come_when_their_part_is_spent(
    make_config: MakeConfig, digits: Splits, tmp_path: Path
) -> None:
    """Eight steps: the rate rises over three and falls over the last half, by what was spent before the step."""
    settings = ("training.images=128", "training.log_every=1", "training.warmup=3", "training.decay=0.5")
    _train(make_config(*settings, "training.learning_rate=0.001", "sampling.steps=1"), tmp_path, digits)
    spent = [step / 8 for step in range(8)]
    expected = [1e-3 * min(1, max(n / 3, part / 0.05), 2 * (1 - part)) for n, part in enumerate(spent, start=1)]
    assert [line["learning_rate"] for line in metrics(tmp_path)] == pytest.approx(expected)
    assert expected[0] < expected[3] > expected[-1]
    drawn = sorted(int(path.stem.split("-")[1]) for path in (tmp_path / "samples").iterdir())
    assert drawn == [
        16,
        32,
        48,
        64,
        96,
        112,
        128,
    ]  # after 2, 5 and 10 %, the first step, 20, and so on


def test_the_film_and_the_losses_go_on_with_the_run(
    make_config: MakeConfig, digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "FIGURES_AFTER", 0.0)
    folder = RunFolder(tmp_path)
    for images in (64, 128):
        settings = ("training.log_every=1", "sampling.steps=1", f"training.images={images}")
        _train(make_config(*settings), tmp_path, digits)
        drawn = [seen for seen, _ in folder.pictures()]
        assert drawn[-1] == images and folder.losses.stat().st_size > 1000
        with Image.open(folder.film) as film:
            assert film.n_frames == len(drawn) >= 3
    check_only_run(tmp_path)  # which knows them as training's own


# Budgets in seconds


def _python(*args: str, timeout: float = 120) -> float:
    began = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *args], env=environment, timeout=timeout, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return time.monotonic() - began


SECONDS = ("precision=auto", "training.log_every=20", "training.warmup=10", "sampling.steps=20")


def test_a_budget_in_seconds_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "run"
    seconds = 14
    took = _python(driver.__file__, str(out), "60", f"training.seconds={seconds}", *SECONDS)
    assert 0.5 * seconds < took < seconds + 0.5  # the half second: starting and ending python itself
    lines = metrics(out)
    rates = [line["learning_rate"] for line in lines]
    assert max(rates) == pytest.approx(2e-4, rel=0.01)
    assert rates[-1] < 0.1 * max(rates)
    assert RunFolder(out).read_config().training.seconds == seconds
    assert load(out).sample(4).tensor.isfinite().all()


def test_a_budget_spent_before_the_first_step_makes_no_model(
    make_config: MakeConfig, digits: Splits, tmp_path: Path
) -> None:
    config, out = make_config("training.seconds=5"), tmp_path / "run"
    with pytest.raises(InputError, match="budget was spent before the first step; give more with --for"):
        loop.train(config, out, digits, time.monotonic() - 5)
    assert not (out / "model.safetensors").exists()
    _train(make_config("training.images=64"), out, digits)  # the folder takes the same run under a larger one
    assert metrics(out)[-1]["step"] == 4


@pytest.mark.slow
def test_slow_sampling_does_not_break_a_budget_in_seconds(
    make_config: MakeConfig, digits: Splits, tmp_path: Path
) -> None:
    began = time.monotonic()
    config = make_config("training.seconds=12", "sampling.sampler=ddpm", "sampling.steps=1000")
    loop.train(config, tmp_path / "run", digits, began)
    assert time.monotonic() - began < 12


@pytest.mark.slow
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

CODEC = (
    "model.kind=codec",
    "model.precision=float32",
    "network.channels=[8, 8]",
    "regularization.kind=vq",
    "regularization.codes=16",
    "perceptual.network=none",
    "adversary.after=100",
    "adversary.discriminator.channels=[8, 8]",
)
"""How codes lie, by which they are quantized, and how the adversary is weighed: both are of whole batches."""


@pytest.mark.parametrize(
    ("batch", "more"),
    [
        (16, ()),
        pytest.param(15, LEARNING_MORE, marks=pytest.mark.slow),
        pytest.param(15, ("model.kind=rivals", "model.precision=float32"), marks=pytest.mark.slow),
        pytest.param(15, CODEC, marks=pytest.mark.slow),
        pytest.param(15, (), marks=pytest.mark.slow),
    ],
)
def test_two_processes_equal_one(
    batch: int, more: tuple[str, ...], finish: Callable[..., int], tmp_path: Path
) -> None:
    settings = (
        *more,
        f"training.batch={batch}",
        f"training.images={batch * 40}",
        *(() if "model.precision=float32" in more else ("network.dropout=0",)),
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
        # What real images pull at a hinge loss's bias, made ones take back: Adam divides rounding by rounding.
        if not key.endswith("discriminator.out.bias"):
            torch.testing.assert_close(right[key], value, rtol=1e-3, atol=1e-5, msg=key)
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for key in a.keys() - {"images_per_second", "seconds"}:
            off = 1e-2 if key == "adversarial" else 0  # by that bias
            assert a[key] == pytest.approx(b[key], rel=1e-3, abs=off), key
    assert sorted(p.name for p in (tmp_path / "two" / "samples").glob("*")) == sorted(
        p.name for p in (tmp_path / "one" / "samples").glob("*")
    )


@pytest.mark.parametrize("known", [True, False])
def test_signals_are_given_back(
    known: bool, make_config: MakeConfig, digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there is no hang-up, as on Windows."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = [signal.getsignal(number) for number in numbers]
    if not known:
        monkeypatch.delattr(signal, "SIGHUP")
    _train(make_config("training.images=16"), tmp_path / "run", digits)
    assert [signal.getsignal(number) for number in numbers] == before
