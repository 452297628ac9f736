from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from unstir.kernels.library import library
from unstir.models.precision import low_precision_copy
from unstir.networks.unet import UNet
from unstir.training.average import averaged_copy
from unstir.training.checkpoint import Position, Stateful, restore, save_checkpoint
from unstir.training.config import Config, TrainingConfig
from unstir.training.learner import Learner, _Moments, _Weights
from unstir.training.muon import suits_muon
from unstir.training.run_folder import RunFolder
from unstir.training.update import KernelUpdate, Row, TorchUpdate, Update

kernels = pytest.mark.skipif(library() is None, reason="the kernels need Linux and a C++ compiler")

CONFIGS = {
    name: TrainingConfig(images=1, optimizer=name, weight_decay=0.05, clip=0.7, ema=0.9)  # type: ignore[arg-type]
    for name in ("adamw", "muon")
}
MOMENTS = ("exp_avg", "exp_avg_sq")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def network() -> nn.Module:
    """Return a network with every kind of layer that the package's have."""
    layers = nn.Sequential(
        UNet(2, channels=(16, 24), blocks=1, attention=("linear", "full")),
        nn.BatchNorm2d(2),
        nn.ConvTranspose2d(2, 3, 2, stride=2),
        nn.Embedding(5, 4),
    )
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def give_gradients(*models: nn.Module, size: float = 0.1) -> None:
    """Give all models the same gradients, each in the type of its parameters.

    The first model's lie in memory in an order of their own, the others' in that of their parameters.
    """
    for first, *others in zip(*(model.parameters() for model in models), strict=True):
        gradient = (size * torch.randn(first.shape)).bfloat16()
        first.grad = gradient.to(first.dtype)
        for other in others:
            other.grad = torch.empty_like(other, requires_grad=False).copy_(gradient)


def assert_close(
    results: nn.Module,
    expected: nn.Module,
    rtol: float = 1e-6,
    atol: float = 1e-6,
    kernels: frozenset[str] = frozenset(),
    path: float = 0.0,
) -> None:
    """Compare weights and buffers; ``kernels`` to one percent of ``path``, how far Muon can have moved them."""
    right = expected.state_dict()
    for name, value in results.state_dict().items():
        torch.testing.assert_close(
            value,
            right[name],
            rtol=rtol,
            atol=0.01 * path if name in kernels else atol,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def assert_copied(working: nn.Module, model: nn.Module) -> None:
    """Check that the low-precision copy holds the model's weights of now."""
    for (name, low), high in zip(working.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(low, high.to(low.dtype)), name


def turned_by_muon(model: nn.Module, config: TrainingConfig) -> frozenset[str]:
    """Return the names of the kernels that have Muon."""
    names = {name for name, parameter in model.named_parameters() if suits_muon(parameter)}
    assert 5 < len(names) < len(list(model.parameters())) / 2
    return frozenset(names if config.optimizer == "muon" else ())


def rows(model: nn.Module, working: nn.Module, average: nn.Module) -> list[Row]:
    """Return what an update changes."""
    return [Row(*row) for row in zip(model.parameters(), working.parameters(), average.parameters(), strict=True)]


@dataclass
class Trained:
    """A network with its average, what has its gradients, and what updates it."""

    model: nn.Module
    working: nn.Module
    average: nn.Module
    update: Update


def by_kernels(model: nn.Module, config: TrainingConfig, low_precision: bool) -> Trained:
    working, average = low_precision_copy(model) if low_precision else model, averaged_copy(model)
    return Trained(model, working, average, KernelUpdate(rows(model, working, average), config))


def by_pytorch(model: nn.Module, config: TrainingConfig) -> Trained:
    average = averaged_copy(model)
    return Trained(model, model, average, TorchUpdate(rows(model, model, average), config, Accelerator(cpu=True)))


def both_updates(config: TrainingConfig, low_precision: bool) -> tuple[Trained, Trained]:
    """Return both updates, each of its own copy of one network."""
    ours = network()
    theirs = copy.deepcopy(ours)
    return by_kernels(ours, config, low_precision), by_pytorch(theirs, config)


@kernels
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9)])
@pytest.mark.parametrize("optimizer", CONFIGS)
@pytest.mark.parametrize("low_precision", [False, True])
def test_both_updates_are_the_same(low_precision: bool, optimizer: str, betas: tuple[float, float]) -> None:
    config = CONFIGS[optimizer].model_copy(update={"betas": betas})
    one, other = both_updates(config, low_precision)
    ours, theirs, working = one.model, other.model, one.working
    turned = turned_by_muon(ours, config)
    clipped, path = set(), 0.0
    for step in range(1, 6):
        give_gradients(working, theirs, size=0.02 * (step - 1) ** 2 + 1e-3)
        norm, expected = one.update(1e-2 / step, step), other.update(1e-2 / step, step)
        path += 1e-2 / step
        torch.testing.assert_close(norm, expected, rtol=1e-5, atol=0)
        clipped.add(bool(norm > config.clip))
        assert_close(ours, theirs, kernels=turned, path=path)
        assert_close(one.average, other.average, kernels=turned, path=path)
        assert_copied(working, ours)
        for parameter in (*working.parameters(), *theirs.parameters()):
            parameter.grad = None
    assert clipped == {False, True}
    for (name, mine), its in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        state, right = one.update.state[mine], other.update.state[its]
        assert set(state) == set(right) == ({"momentum", "step"} if name in turned else {"step", *MOMENTS})
        assert state["step"] == right["step"] == 5
        for key in state.keys() - {"step"}:
            atol = 1e-10 if key == "exp_avg_sq" else 1e-8
            torch.testing.assert_close(state[key], right[key], rtol=1e-5, atol=atol, msg=f"{key} of {name}")
            assert state[key].stride() == mine.stride(), name
        assert not mine.grad_fn
        assert mine.requires_grad


@kernels
@pytest.mark.parametrize("optimizer", CONFIGS)
@pytest.mark.parametrize("low_precision", [False, True])
def test_parameters_without_gradients_stay_and_their_average_follows(low_precision: bool, optimizer: str) -> None:
    config = CONFIGS[optimizer]
    one, other = both_updates(config, low_precision)
    ours, theirs, working = one.model, other.model, one.working
    before = copy.deepcopy(ours.state_dict())
    for mine, its in zip(one.average.parameters(), other.average.parameters(), strict=True):
        mine.add_(torch.randn(mine.shape))
        its.copy_(mine)
    turned = turned_by_muon(ours, config)
    give_gradients(working, theirs, size=1e-3)
    idle = {name for i, name in enumerate(before) if i % 3 == 1 and name in dict(ours.named_parameters())}
    assert not turned or (turned - idle and turned & idle)
    for model in (working, theirs):
        for name, parameter in model.named_parameters():
            if name in idle:
                parameter.grad = None
    one.update(1e-2, 1)
    other.update(1e-2, 1)
    assert_close(ours, theirs, kernels=turned, path=1e-2)
    assert_close(one.average, other.average, kernels=turned, path=1e-2)
    assert_copied(working, ours)
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, before[name]) == (name in idle), name
        assert (not one.update.state[parameter]) == (name in idle), name
    # When their time comes, their first step is corrected as a first one.
    give_gradients(working, theirs, size=1e-3)
    one.update(1e-2, 2)
    other.update(1e-2, 2)
    assert_close(ours, theirs, kernels=turned, path=2e-2)
    for (name, mine), its in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        steps = one.update.state[mine]["step"], other.update.state[its]["step"]
        assert steps == ((1, 1) if name in idle else (2, 2)), name


@pytest.mark.parametrize("way", ["kernels", "kernels in low precision", "pytorch"])
def test_an_update_of_some_of_the_weights_leaves_the_others(way: str) -> None:
    """As a model of several turns has one for each; the norm is of its own gradients alone."""
    if way != "pytorch" and library() is None:
        pytest.skip("the kernels need Linux and a C++ compiler")
    model = network()
    trained = by_pytorch(model, CONFIGS["adamw"]) if way == "pytorch" else None
    trained = trained or by_kernels(model, CONFIGS["adamw"], way != "kernels")
    every = rows(trained.model, trained.working, trained.average)
    own = every[::2]
    update: Update = (
        TorchUpdate(own, CONFIGS["adamw"], Accelerator(cpu=True))
        if way == "pytorch"
        else KernelUpdate(own, CONFIGS["adamw"])
    )
    before = [(row.parameter.detach().clone(), row.working.detach().clone()) for row in every]
    for average in trained.average.parameters():
        average.add_(1.0)
    averages = [row.average.clone() for row in every]
    give_gradients(trained.working)
    expected = torch.stack([row.working.grad.float().norm() for row in own if row.working.grad is not None]).norm()
    torch.testing.assert_close(update(1e-2, 1), expected, rtol=1e-4, atol=0)
    for i, (row, (weights, copied), average) in enumerate(zip(every, before, averages, strict=True)):
        assert torch.equal(row.parameter, weights) == (i % 2 == 1)
        assert torch.equal(row.average, average) == (i % 2 == 1)
        assert bool(update.state.get(row.parameter)) == (i % 2 == 0)
        if i % 2:
            assert torch.equal(row.working, copied)
        else:
            assert torch.equal(row.working, row.parameter.to(row.working.dtype))


WAYS = {"kernels": False, "kernels in low precision": True, "pytorch": None}
"""Each update, and whether it works on a copy in low precision."""


@pytest.mark.parametrize("optimizer", CONFIGS)
@pytest.mark.parametrize("way", WAYS)
def test_restored_from_a_checkpoint_it_goes_on_as_if_never_stopped(
    way: str, optimizer: str, tmp_path: Path
) -> None:
    if way != "pytorch" and library() is None:
        pytest.skip("the kernels need Linux and a C++ compiler")

    def start() -> Trained:
        model = network()
        if way == "pytorch":
            return by_pytorch(model, CONFIGS[optimizer])
        return by_kernels(model, CONFIGS[optimizer], bool(WAYS[way]))

    def go(trained: Trained, steps: range) -> None:
        for step in steps:
            torch.manual_seed(step)
            give_gradients(trained.working)
            trained.update(1e-2, step)

    def objects(trained: Trained) -> dict[str, Stateful]:
        return {
            "model": _Weights(trained.model, trained.working),  # type: ignore[arg-type]
            "average": trained.average,
            "optimizer": _Moments(trained.model, {"main": trained.update}, 3),  # type: ignore[arg-type,dict-item]
        }

    folder = RunFolder(tmp_path / "run")
    whole = start()
    go(whole, range(1, 4))
    save_checkpoint(folder, objects(whole), Position(step=3))
    go(whole, range(4, 7))
    torch.manual_seed(9)
    again = start()
    assert not all(torch.equal(*pair) for pair in zip(whole.model.parameters(), again.model.parameters()))
    restore(folder.checkpoints()[-1], objects(again))
    assert_copied(again.working, again.model)
    go(again, range(4, 7))
    for one, other in ((whole.model, again.model), (whole.average, again.average), (whole.working, again.working)):
        for name, value in other.state_dict().items():
            assert torch.equal(value, one.state_dict()[name]), name
    for mine, its in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        state, right = again.update.state[its], whole.update.state[mine]
        assert state.keys() == right.keys()
        assert all(torch.equal(state[key], right[key]) for key in right)


@pytest.mark.parametrize("low_precision", [False, True])
def test_loaded_weights_are_those_of_what_works_too(low_precision: bool) -> None:
    model = network()
    working = low_precision_copy(model) if low_precision else model
    with torch.no_grad():
        held = {name: value + torch.ones_like(value) for name, value in model.state_dict().items()}
    _Weights(model, working).load_state_dict(held)  # type: ignore[arg-type]
    assert all(torch.equal(value, held[name]) for name, value in model.state_dict().items())
    assert_copied(working, model)
    assert all(p.requires_grad for p in working.parameters())


def _losses(learner: Learner, steps: int = 6) -> Tensor:
    """Return the losses and gradient norms of some steps, (steps, 2)."""
    measured = [learner.step(2e-3) for _ in range(steps)]
    assert {*measured[0]} == {"loss", "gradient_norm"}
    return torch.stack([torch.stack([each["loss"], each["gradient_norm"]]) for each in measured])


NETWORKS = {
    "unet": (),
    "layer norm": ("network.norm=layer", "network.dropout=0"),
    "plain": ("network.kind=plain", "network.channels=[8, 16]", "network.embedding=8"),
    "fully_connected": ("network.kind=fully_connected", "network.widths=[32, 16]"),
}


@kernels
@pytest.mark.parametrize("kind", NETWORKS)
def test_training_is_the_same_with_and_without_the_kernels(
    kind: str,
    make_config: Callable[..., Config],
    make_learner: Callable[..., Learner],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config(*NETWORKS[kind], "training.weight_decay=0.01", "training.clip=0.5")
    learner = make_learner(config)
    ours = _losses(learner)
    assert isinstance(learner.updates["main"], KernelUpdate)
    monkeypatch.setattr("unstir.training.learner.library", lambda: None)
    if kind != "unet":  # which has dropout, whose two ways do not draw the same
        for name in ("norm", "attention"):
            monkeypatch.setattr(f"unstir.kernels.{name}.library", lambda: None)
    other = make_learner(config)
    theirs = _losses(other)
    assert isinstance(other.updates["main"], TorchUpdate)
    torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=1e-5)
    assert_close(learner.average, other.average, rtol=1e-3, atol=2e-4)
    assert learner.validation_losses() == pytest.approx(other.validation_losses(), rel=1e-3)
    assert {*learner.validation_losses()} == {"validation_loss"}
    assert (ours[0, 0] - ours[-1, 0]).abs() > 1e-3  # it did learn


@kernels
@pytest.mark.parametrize("kind", ["unet", "plain"])
def test_training_in_bfloat16_is_near_that_in_float32(
    kind: str, make_config: Callable[..., Config], make_learner: Callable[..., Learner]
) -> None:
    exact = _losses(make_learner(make_config(*NETWORKS[kind])))
    learner = make_learner(make_config(*NETWORKS[kind], "precision=bf16"))
    losses = _losses(learner)
    assert learner.wrapped is not learner.model
    assert all(p.dtype == torch.float32 for p in learner.model.parameters())
    torch.testing.assert_close(losses[:, 0], exact[:, 0], rtol=0.03, atol=0)
    torch.testing.assert_close(losses[:, 1], exact[:, 1], rtol=0.2, atol=0)
    assert_copied(learner.wrapped, learner.model)


@kernels
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_batch_norms_statistics_reach_the_average_as_they_are(
    precision: str, make_config: Callable[..., Config], make_learner: Callable[..., Learner]
) -> None:
    learner = make_learner(make_config("model.kind=classifier", f"precision={precision}"))
    for _ in range(3):
        learner.step(1e-3)
    buffers, averaged = dict(learner.model.named_buffers()), dict(learner.average.named_buffers())
    assert any(name.endswith("running_var") for name in buffers)
    for name, buffer in buffers.items():
        assert torch.equal(averaged[name], buffer), name
        if name.endswith("num_batches_tracked"):
            assert buffer == 3
    weights = zip(learner.model.parameters(), learner.average.parameters(), strict=True)
    assert not any(torch.equal(*pair) for pair in weights)
