"""One step of training: its turns, whose weights each changes, and what is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from driver import metrics
from rivals import Rivals
from torch import nn

from unstir.data.dataset import Splits
from unstir.errors import InputError
from unstir.kernels.library import library
from unstir.models import precision
from unstir.models.model import Batch
from unstir.training import learner as learner_module
from unstir.training import loop
from unstir.training.batches import step_seed, training_batch
from unstir.training.checkpoint import newest_checkpoint, restore, save_checkpoint
from unstir.training.config import Begun, Config
from unstir.training.learner import Learner
from unstir.training.run_folder import RunFolder

UPDATES = ["kernels", "pytorch"]


@pytest.fixture(params=UPDATES)
def rivals(
    request: pytest.FixtureRequest,
    make_config: Callable[..., Config],
    make_learner: Callable[..., Learner],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], Learner]:
    if request.param == "pytorch":
        monkeypatch.setattr("unstir.training.learner.library", lambda: None)
    elif library() is None:
        pytest.skip("the kernels need Linux and a C++ compiler")
    return lambda: make_learner(make_config("model.kind=rivals", "precision=float32", "training.clip=100"))


def test_each_turn_changes_its_own_weights_and_sees_what_the_one_before_became(rivals: Any) -> None:
    learner = rivals()
    model: Rivals = learner.model
    references = [nn.Parameter(parameter.detach().clone()) for parameter in model.parameters()]
    optimizers = [torch.optim.AdamW([parameter], lr=1e-2, weight_decay=0.0) for parameter in references]
    batches: list[Batch] = []
    prepare = model.prepare
    model.prepare = lambda *given: batches.append(prepare(*given)) or batches[-1]  # type: ignore[method-assign,func-returns-value,return-value]
    for step in range(3):
        values = learner.step(1e-2)
        assert [*values] == ["size", "gradient_norm_first", "error", "code", "gradient_norm_second"]
        x, noise = batches[-1]["x"], batches[-1]["noise"]
        size = ((x + noise) @ references[0].T - 1).square().mean()
        size.backward()
        optimizers[0].step()
        code = ((x + noise) @ references[0].T).detach()
        error = (code @ references[1].T - x).square().mean()
        error.backward()
        optimizers[1].step()
        torch.testing.assert_close(values["size"], size.detach(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(values["error"], error.detach(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(values["code"], code.mean(), rtol=1e-4, atol=1e-6)
        for turn, own in zip(("first", "second"), references, strict=True):
            assert own.grad is not None
            torch.testing.assert_close(values[f"gradient_norm_{turn}"], own.grad.norm(), rtol=1e-4, atol=1e-6)
            own.grad = None
        for parameter, own in zip(model.parameters(), references, strict=True):
            torch.testing.assert_close(parameter, own, rtol=1e-4, atol=1e-5)
        assert learner.position.step == step + 1
        assert learner.position.images == 16 * (step + 1)
    assert [turn for turn, _ in model.seen] == ["first", "second"] * 3
    assert {*model.seen[-1][1]} == {"error", "code"}
    torch.testing.assert_close(model.seen[-1][1]["error"].mean(), values["error"])
    assert model.seen[-1][1]["error"].shape == (16,)


def test_the_averages_of_all_turns_follow(rivals: Any) -> None:
    learner = rivals()
    expected = [parameter.detach().clone() for parameter in learner.model.parameters()]
    for step in range(1, 4):
        learner.step(1e-2)
        for average, parameter in zip(expected, learner.model.parameters(), strict=True):
            average.lerp_(parameter.detach(), 1 - (1 + step) / (10 + step))
    for average, own in zip(expected, learner.average.parameters(), strict=True):
        torch.testing.assert_close(own, average, rtol=1e-5, atol=1e-6)


def test_all_turns_are_in_the_checkpoint(rivals: Any, tmp_path: Path) -> None:
    learner, folder = rivals(), RunFolder(tmp_path)
    for _ in range(3):
        learner.step(1e-2)
    save_checkpoint(folder, learner.state(), learner.position)
    moments = {key for key in learner.state()["optimizer"].state_dict() if "exp_avg_sq" not in key}
    assert moments == {
        f"{turn}.{key}.{turn}.weight" for turn in ("first", "second") for key in ("step", "exp_avg")
    }
    other = rivals()
    path, other.position = newest_checkpoint(folder)
    restore(path, other.state())
    for _ in range(2):
        ours, theirs = learner.step(1e-2), other.step(1e-2)
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_held_out_losses_are_of_the_average_and_of_all_images(rivals: Any, digits: Splits) -> None:
    learner = rivals()
    for _ in range(3):
        learner.step(1e-2)
    found = learner.validation_losses()
    assert {*found} == {"validation_size", "validation_error", "validation_code"}
    assert found == learner.validation_losses()
    batch = training_batch(
        learner.average, digits.held_out, seed=learner.config.seed, step=0, size=min(256, len(digits.held_out))
    )
    with torch.no_grad():
        first, second = (parameter.detach() for parameter in learner.average.parameters())
        code = (batch["x"] + batch["noise"]) @ first.T
        by_hand = {"size": (code - 1).square().mean(), "error": (code @ second.T - batch["x"]).square().mean()}
    for name, value in by_hand.items():
        assert found[f"validation_{name}"] == pytest.approx(float(value), rel=1e-5)
    learner.step(0.1)
    assert found != learner.validation_losses()


def test_what_a_model_knows_beside_its_weights_is_in_the_average(
    make_config: Callable[..., Config], make_learner: Callable[..., Learner]
) -> None:
    learner = make_learner(make_config("network.kind=plain", "network.channels=[8, 8]"))
    fresh = {name: value.clone() for name, value in learner.average.named_buffers()}
    for _ in range(2):
        learner.step(1e-3)
    ours, averaged = (dict(model.named_buffers()) for model in (learner.model, learner.average))
    counted = [name for name in ours if "running" in name or "batches" in name]
    assert len(counted) >= 6
    for name in counted:
        assert torch.equal(ours[name], averaged[name])
        assert not torch.equal(averaged[name], fresh[name])


def test_each_step_has_randomness_and_flips_of_its_own(rivals: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = rivals()
    seeds: list[int] = []
    flips: list[bool] = []
    losses, prepared = type(learner.model).losses, learner_module.training_batch

    def counted(self: Rivals, turn: str, *given: Any) -> dict[str, torch.Tensor]:
        seeds.append(torch.initial_seed())
        return losses(self, turn, *given)

    def seen(*given: Any, **how: Any) -> Batch:
        flips.append(how["flip"])
        return prepared(*given, **how)

    monkeypatch.setattr(Rivals, "losses", counted)
    monkeypatch.setattr(learner_module, "training_batch", seen)
    for _ in range(3):
        learner.step(1e-3)
    assert seeds[::2] == seeds[1::2] == [step_seed(learner.config.seed, step) for step in range(3)]
    assert len({*seeds}) == 3
    assert learner.config.data.flip
    assert flips == [True] * 3


def test_held_out_losses_do_not_depend_on_the_batch(
    make_config: Callable[..., Config], make_learner: Callable[..., Learner]
) -> None:
    losses = []
    for batch in (16, 100, 256):
        learner = make_learner(make_config(f"training.batch={batch}"))
        silent = learner.validation_losses()["validation_loss"]
        torch.manual_seed(5)
        for parameter in learner.average.parameters():  # an untrained network answers zero to whatever it is asked
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
        losses.append(learner.validation_losses()["validation_loss"])
        assert losses[-1] != pytest.approx(silent, rel=1e-2)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)


def test_a_run_of_several_turns_logs_and_stops_as_any(
    make_config: Callable[..., Config], digits: Splits, tmp_path: Path
) -> None:
    config = make_config(
        "model.kind=rivals", "precision=float32", "training.images=128", "training.learning_rate=1e-2"
    )
    assert loop.train(config, tmp_path / "run", digits, time.monotonic()) is None
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [4, 8]
    for line in lines:
        assert {"size", "error", "code", "gradient_norm_first", "gradient_norm_second"} <= line.keys()
    assert lines[-1]["size"] < lines[0]["size"]
    assert {"validation_size", "validation_error"} <= {key for line in lines for key in line}


def test_a_batch_smaller_than_the_processes_is_refused(
    make_config: Callable[..., Config], make_learner: Callable[..., Learner], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Many:
        device, num_processes = torch.device("cpu"), 17

    monkeypatch.setattr("unstir.training.learner.processes", Many)
    with pytest.raises(InputError, match=r"training\.batch=16 cannot be shared by 17 processes"):
        make_learner(make_config())


def test_a_run_keeps_its_arithmetic_whatever_is_faster_now(
    make_config: Callable[..., Config], make_learner: Callable[..., Learner], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config("precision=auto")
    for kept, faster in (("float32", "bf16"), ("bf16", "float32")):
        monkeypatch.setattr(
            precision, "speeds", lambda faster=faster: {"bf16": 1.0, "float32": 1.0} | {faster: 2.0}
        )
        assert make_learner(config).precision == faster
        begun = Begun(arithmetic={"cpu": kept, "cuda": faster})
        assert make_learner(config.model_copy(update={"begun": begun})).precision == kept


def test_all_processes_compute_in_the_format_that_the_first_measured(
    make_config: Callable[..., Config], make_learner: Callable[..., Learner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "speeds", lambda: {"bf16": 2.0, "float32": 1.0})
    monkeypatch.setattr("unstir.training.learner.gathered", lambda own: ["float32", own])
    assert make_learner(make_config("precision=auto")).precision == "float32"
