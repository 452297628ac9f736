from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from unstir.data.dataset import Splits
from unstir.kernels.library import library
from unstir.networks.unet import UNet
from unstir.training.average import averaged_copy
from unstir.training.checkpoint import Position, restore, save_checkpoint
from unstir.training.config import Config, TrainingConfig
from unstir.training.folder import RunFolder
from unstir.training.learner import Learner
from unstir.training.muon import suits_muon
from unstir.training.precision import low_precision_copy
from unstir.training.update import KernelUpdate, TorchUpdate, Update

kernels = pytest.mark.skipif(library() is None, reason="the kernels need Linux and a C++ compiler")

CONFIGS = {
    name: TrainingConfig(images=1, optimizer=name, weight_decay=0.05, clip=0.7, ema=0.9)  # type: ignore[arg-type]
    for name in ("adamw", "muon")
}
MOMENTS = ("exp_avg", "exp_avg_sq")
HEAVY = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def network() -> nn.Module:
    """Return a network with every kind of layer that the package's have."""
    layers = nn.Sequential(
        UNet(2, channels=(16, 24), blocks=1, attention=("linear", "full"), classes=3),
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


def both_updates(config: TrainingConfig, low_precision: bool) -> tuple[KernelUpdate, TorchUpdate]:
    """Return both updates, each of its own copy of one network."""
    ours = network()
    theirs = copy.deepcopy(ours)
    working = low_precision_copy(ours) if low_precision else ours
    return (
        KernelUpdate(ours, working, averaged_copy(ours), config),
        TorchUpdate(theirs, averaged_copy(theirs), config, Accelerator(cpu=True)),
    )


@kernels
@pytest.mark.parametrize("optimizer", CONFIGS)
@pytest.mark.parametrize("low_precision", [False, True])
def test_both_updates_are_the_same(low_precision: bool, optimizer: str) -> None:
    config = CONFIGS[optimizer]
    update, reference = both_updates(config, low_precision)
    ours, theirs, working = update.model, reference.model, update.working
    averages = [update.average, reference.average]
    turned = turned_by_muon(ours, config)
    clipped, path = set(), 0.0
    for step in range(1, 6):
        give_gradients(working, theirs, size=0.02 * (step - 1) ** 2 + 1e-3)
        for model in (ours, theirs):
            model[1].running_mean.fill_(step)  # type: ignore[index,union-attr,operator]
            model[1].num_batches_tracked.fill_(step)  # type: ignore[index,union-attr,operator]
        norm, expected = update(1e-2 / step, step), reference(1e-2 / step, step)
        path += 1e-2 / step
        torch.testing.assert_close(norm, expected, rtol=1e-5, atol=0)
        clipped.add(bool(norm > config.clip))
        assert_close(ours, theirs, kernels=turned, path=path)
        assert_close(*averages, kernels=turned, path=path)
        assert_copied(working, ours)
        assert all(p.grad is None for model in (ours, working, theirs) for p in model.parameters())
    assert clipped == {False, True}
    assert (averages[0][1].running_mean == 5).all()  # type: ignore[index]
    assert averages[0][1].num_batches_tracked == 5  # type: ignore[index]
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        state, right = update.state[one], reference.state[other]
        assert set(state) == set(right) == ({"momentum", "step"} if name in turned else {"step", *MOMENTS})
        assert state["step"] == right["step"] == 5
        for key in state.keys() - {"step"}:
            atol = 1e-10 if key == "exp_avg_sq" else 1e-8
            torch.testing.assert_close(state[key], right[key], rtol=1e-5, atol=atol, msg=f"{key} of {name}")
            assert state[key].stride() == one.stride(), name
        assert not one.grad_fn
        assert one.requires_grad


@kernels
@pytest.mark.parametrize("optimizer", CONFIGS)
@pytest.mark.parametrize("low_precision", [False, True])
def test_parameters_without_gradients_stay_and_their_average_follows(low_precision: bool, optimizer: str) -> None:
    config = CONFIGS[optimizer]
    update, reference = both_updates(config, low_precision)
    ours, theirs, working = update.model, reference.model, update.working
    averages = [update.average, reference.average]
    before = copy.deepcopy(ours.state_dict())
    for one, other in zip(*(average.parameters() for average in averages), strict=True):
        one.add_(torch.randn(one.shape))
        other.copy_(one)
    turned = turned_by_muon(ours, config)
    give_gradients(working, theirs, size=1e-3)
    idle = {name for i, name in enumerate(before) if i % 3 == 1 and name in dict(ours.named_parameters())}
    assert not turned or (turned - idle and turned & idle)
    for model in (working, theirs):
        for name, parameter in model.named_parameters():
            if name in idle:
                parameter.grad = None
    update(1e-2, 1)
    reference(1e-2, 1)
    assert_close(ours, theirs, kernels=turned, path=1e-2)
    assert_close(*averages, kernels=turned, path=1e-2)
    assert_copied(working, ours)
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, before[name]) == (name in idle), name
        assert (not update.state[parameter]) == (name in idle), name


def test_a_low_precision_copy_holds_bfloat16_where_the_work_is_and_shares_all_else() -> None:
    model = network()
    model[1](torch.randn(4, 2, 3, 3) + 1)  # type: ignore[index,operator]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copied = low_precision_copy(model)
    seen = set()
    for (path, layer), other in zip(copied.named_modules(), model.modules(), strict=True):
        assert layer is not other
        heavy = isinstance(layer, HEAVY)
        for (name, low), high in zip(
            layer.named_parameters(recurse=False), other.parameters(recurse=False), strict=True
        ):
            seen.add(heavy)
            assert isinstance(low, nn.Parameter)
            assert low.requires_grad
            assert (low is high) == (not heavy), f"{path}.{name}"
            assert low.dtype == (torch.bfloat16 if heavy else torch.float32), f"{path}.{name}"
            assert torch.equal(low, high.to(low.dtype))
            assert low.stride() == high.stride()
        for low_buffer, buffer in zip(layer.buffers(recurse=False), other.buffers(recurse=False), strict=True):
            assert low_buffer is buffer
    assert seen == {False, True}
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name]), name


def test_what_a_copy_learns_of_its_batches_is_the_models_too() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    copied = low_precision_copy(model)
    with torch.autocast("cpu", torch.bfloat16):
        copied(torch.randn(8, 1, 4, 4) + 3)
    assert model[1].num_batches_tracked == 1
    assert model[1].running_mean.abs().min() > 0  # type: ignore[union-attr,operator]


def test_a_copy_gives_under_autocast_what_the_model_gives() -> None:
    model = network()[0].eval()  # type: ignore[index]
    copied = low_precision_copy(model)
    x, t = torch.randn(2, 2, 8, 8), torch.tensor([0.1, 0.9])
    results = []
    for network_ in (model, copied):
        with torch.autocast("cpu", torch.bfloat16):
            results.append(network_(x, t).float())
    torch.testing.assert_close(
        results[0], results[1], rtol=1e-3, atol=1e-3 * float(results[0].detach().abs().max())
    )
    assert (results[0] - model(x, t)).norm() < 0.05 * model(x, t).norm()


def test_refreshed_copies_follow_their_model() -> None:
    model = network()
    working = low_precision_copy(model)
    update = KernelUpdate(model, working, averaged_copy(model), CONFIGS["adamw"])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape))
    with pytest.raises(AssertionError):
        assert_copied(working, model)
    update.refresh()
    assert_copied(working, model)
    assert all(p.requires_grad for p in working.parameters())


WAYS = {"kernels": False, "kernels in low precision": True, "pytorch": None}
"""Each update, and whether it works on a copy in low precision."""


@pytest.mark.parametrize("optimizer", CONFIGS)
@pytest.mark.parametrize("way", WAYS)
def test_restored_from_a_checkpoint_it_goes_on_as_if_never_stopped(
    way: str, optimizer: str, tmp_path: Path
) -> None:
    if way != "pytorch" and library() is None:
        pytest.skip("the kernels need Linux and a C++ compiler")

    def start() -> tuple[nn.Module, nn.Module, nn.Module, Update]:
        model = network()
        working = low_precision_copy(model) if WAYS[way] else model
        average = averaged_copy(model)
        if way == "pytorch":
            return model, model, average, TorchUpdate(model, average, CONFIGS[optimizer], Accelerator(cpu=True))
        return model, working, average, KernelUpdate(model, working, average, CONFIGS[optimizer])

    def go(working: nn.Module, update: Update, steps: range) -> None:
        for step in steps:
            torch.manual_seed(step)
            give_gradients(working)
            update(1e-2, step)

    folder = RunFolder(tmp_path / "run")
    model, working, average, update = start()
    go(working, update, range(1, 4))
    save_checkpoint(folder, model, average, update.state, Position(step=3))
    go(working, update, range(4, 7))
    again, low, averaged, resumed = start()
    restore(folder.checkpoints()[-1], again, averaged, resumed.state)
    resumed.refresh()
    go(low, resumed, range(4, 7))
    for one, other in ((model, again), (average, averaged), (working, low)):
        for name, value in other.state_dict().items():
            assert torch.equal(value, one.state_dict()[name]), name
    for one, other in zip(model.parameters(), again.parameters(), strict=True):  # type: ignore[assignment]
        state, right = resumed.state[other], update.state[one]  # type: ignore[index]
        assert state.keys() == right.keys()
        assert all(torch.equal(state[key], right[key]) for key in right)


def _losses(config: Config, digits: Splits, steps: int = 6) -> tuple[Learner, Tensor]:
    """Return the learner after some steps and their losses and gradient norms, (steps, 2)."""
    learner = Learner(config, digits)
    return learner, torch.stack([torch.stack(learner.step(2e-3)) for _ in range(steps)])


NETWORKS = {
    "unet": (),
    "layer norm": ("network.norm=layer", "network.dropout=0"),
    "plain": ("network.kind=plain", "network.channels=[8, 16]", "network.embedding=8"),
    "fully_connected": ("network.kind=fully_connected", "network.widths=[32, 16]"),
}


@kernels
@pytest.mark.parametrize("kind", NETWORKS)
def test_training_is_the_same_with_and_without_the_kernels(
    kind: str, make_config: Callable[..., Config], digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(*NETWORKS[kind], "training.weight_decay=0.01", "training.clip=0.5")
    learner, ours = _losses(config, digits)
    assert isinstance(learner.update, KernelUpdate)
    monkeypatch.setattr("unstir.training.learner.library", lambda: None)
    if kind != "unet":  # which has dropout, whose two ways do not draw the same
        for name in ("norm", "attention"):
            monkeypatch.setattr(f"unstir.kernels.{name}.library", lambda: None)
    other, theirs = _losses(config, digits)
    assert isinstance(other.update, TorchUpdate)
    torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=1e-5)
    assert_close(learner.average, other.average, rtol=1e-3, atol=2e-4)
    assert learner.validation_loss() == pytest.approx(other.validation_loss(), rel=1e-3)
    assert (ours[0, 0] - ours[-1, 0]).abs() > 1e-3  # it did learn


@kernels
@pytest.mark.parametrize("kind", ["unet", "plain"])
def test_training_in_bfloat16_is_near_that_in_float32(
    kind: str, make_config: Callable[..., Config], digits: Splits
) -> None:
    _, exact = _losses(make_config(*NETWORKS[kind]), digits)
    learner, losses = _losses(make_config(*NETWORKS[kind], "training.precision=bf16"), digits)
    assert learner.wrapped is not learner.model
    assert all(p.dtype == torch.float32 for p in learner.model.parameters())
    torch.testing.assert_close(losses[:, 0], exact[:, 0], rtol=0.03, atol=0)
    torch.testing.assert_close(losses[:, 1], exact[:, 1], rtol=0.2, atol=0)
    assert_copied(learner.wrapped, learner.model)
