from __future__ import annotations

import copy
import itertools
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from driver import tensors
from torch import Tensor, nn

from unstir.data.dataset import Splits
from unstir.kernels.library import library
from unstir.networks.fully_connected import FullyConnectedUNet
from unstir.networks.plain_unet import PlainUNet
from unstir.networks.unet import UNet
from unstir.training import loop
from unstir.training.config import Config
from unstir.training.learner import Learner
from unstir.training.muon import MOMENTUM, AdamWAndMuon, muon, orthogonal, suits_muon
from unstir.training.update import KernelUpdate, TorchUpdate

SIZES = [(24, 40), (40, 24), (32, 32), (16, 216), (216, 16)]
SHAPES = [(16, 24, 3, 3), (40, 16, 1, 1), (20, 16, 2, 3)]
"""Kernels: more inputs than outputs, more outputs than inputs, and one that is not square."""


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def drawn(rows: int, columns: int, count: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return matrices (n, r, c) and their U, singular values between 0.4 and 1, and V, in float64."""
    u, _, vt = torch.linalg.svd(torch.randn(count, rows, columns, dtype=torch.float64), full_matrices=False)
    values = 0.4 + 0.6 * torch.rand(count, min(rows, columns), dtype=torch.float64)
    return (u * values[:, None]) @ vt, u, values, vt.mT


def turned(matrix: Tensor) -> Tensor:
    """Return what five steps of x -> a x + b x^3 + c x^5 make of the singular values, in float64."""
    u, values, vt = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = values / values.norm()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return (u * values) @ vt


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_orthogonal_keeps_singular_vectors_and_brings_the_values_near_one(
    size: tuple[int, int], kind: torch.dtype
) -> None:
    matrices, u, _, v = drawn(*size)
    result = orthogonal(matrices.to(kind))
    assert result.dtype == kind
    assert result.shape == matrices.shape
    inner = u.mT @ result.double() @ v
    values = inner.diagonal(dim1=1, dim2=2)
    assert 0.65 < float(values.min()) < float(values.max()) < 1.25
    assert float((inner - torch.diag_embed(values)).abs().max()) < 0.05
    outside = result.double() - u @ inner @ v.mT  # nothing but those vectors
    assert float(outside.norm() / result.double().norm()) < 0.01
    for matrix, one in zip(matrices, result, strict=True):
        expected = turned(matrix)
        assert (one - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_orthogonal_of_a_batch_is_that_of_each(size: tuple[int, int]) -> None:
    matrices = drawn(*size)[0].float() * torch.tensor([1.0, 1e-3, 50.0])[:, None, None]
    for matrix, one in zip(matrices, orthogonal(matrices), strict=True):
        (alone,) = orthogonal(matrix[None])
        assert (one - alone).norm() < 0.02 * alone.norm()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_orthogonal_does_not_depend_on_scale(size: tuple[int, int]) -> None:
    matrices = drawn(*size)[0].bfloat16()
    expected = orthogonal(matrices)
    for power in (-6, 3, 40):  # by which bfloat16 is scaled exactly
        assert torch.equal(orthogonal(matrices * 2.0**power), expected)
    assert torch.equal(orthogonal(-matrices), -expected)
    for scale in (1e-4, 0.3, 1e5):
        assert (orthogonal(scale * matrices) - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize("size", [(24, 40), (40, 24)], ids=str)
def test_orthogonal_of_zeros_is_zero(size: tuple[int, int]) -> None:
    matrices = drawn(*size)[0].float()
    expected = orthogonal(matrices[[0, 2]])
    matrices[1] = 0
    result = orthogonal(matrices)
    assert not result[1].any()
    assert (result[[0, 2]] - expected).norm() < 0.02 * expected.norm()


def some_kernels(shapes: list[tuple[int, ...]], steps: int = 1) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Return kernels, and for each step a gradient for each of them."""
    parameters = [torch.randn(shape) for shape in shapes]
    return parameters, [[torch.randn(shape) for shape in shapes] for _ in range(steps)]


def zeros(tensors: list[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(tensor) for tensor in tensors]


def as_matrix(kernel: Tensor) -> Tensor:
    """Return (O, H W I): one row for each output."""
    return torch.stack([channel.movedim(0, -1).flatten() for channel in kernel])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_steps_are_those_of_the_definition(shape: tuple[int, ...]) -> None:
    (parameter,), gradients = some_kernels([shape], steps=4)
    (momentum,) = zeros([parameter])
    exact_momentum = torch.zeros(shape, dtype=torch.float64)
    for step, (gradient,) in enumerate(gradients):
        rate, before = 0.02 / (step + 1), parameter.clone()
        muon([parameter], [gradient], [momentum], rate)
        exact_momentum = 0.95 * exact_momentum + 0.05 * gradient.double()
        ahead = 0.05 * gradient.double() + 0.95 * exact_momentum
        matrix = as_matrix(ahead)
        expected = -0.2 * rate * max(matrix.shape) ** 0.5 * turned(matrix)
        moved = as_matrix(parameter.double() - before.double())
        torch.testing.assert_close(momentum.double(), exact_momentum, rtol=1e-5, atol=1e-7)
        assert (moved - expected).norm() < 0.03 * expected.norm()
        assert moved.norm() == pytest.approx(float(expected.norm()), rel=0.01)
    assert MOMENTUM == 0.95


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_step_is_about_as_long_as_one_of_adamw(shape: tuple[int, ...]) -> None:
    """Whose elements move by a fifth of the learning rate or so."""
    (parameter,), ((gradient,),) = some_kernels([shape])
    before = parameter.clone()
    muon([parameter], [1e-3 * gradient], zeros([parameter]), 0.1)
    size = float((parameter - before).square().mean().sqrt())
    assert 0.65 * 0.02 < size < 1.25 * 0.02


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_descends(shape: tuple[int, ...]) -> None:
    target, parameter = torch.randn(shape), torch.zeros(shape)
    momenta, errors = zeros([parameter]), []
    for _ in range(12):
        errors.append(float((parameter - target).norm()))
        muon([parameter], [parameter - target], momenta, 0.1)
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))
    assert errors[-1] < 0.9 * errors[0]


def test_kernels_of_one_shape_do_not_mix() -> None:
    shapes = [SHAPES[0], SHAPES[1], SHAPES[0], (24, 16, 3, 3), SHAPES[0], SHAPES[1]]
    together, gradients = some_kernels(shapes, steps=2)
    alone, before = copy.deepcopy(together), copy.deepcopy(together)
    momenta, apart = zeros(together), zeros(together)
    for i, row in enumerate(gradients):
        muon(together, row, momenta, 0.1)
        for j in range(len(shapes)):
            muon([alone[j]], [gradients[i][j]], [apart[j]], 0.1)
    for one, other, was, momentum, right in zip(together, alone, before, momenta, apart, strict=True):
        assert torch.equal(momentum, right)
        assert (one - other).norm() < 0.02 * (other - was).norm()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_memory_layout_does_not_matter(shape: tuple[int, ...], kind: torch.dtype) -> None:
    last = torch.channels_last
    (rows,), gradients = some_kernels([shape], steps=2)
    channels_last = rows.contiguous(memory_format=last)
    momenta = [torch.zeros_like(rows), torch.zeros_like(channels_last)]
    strides = channels_last.stride()
    for (gradient,) in gradients:
        gradient = gradient.to(kind)
        muon([rows], [gradient], momenta[:1], 0.1)
        muon([channels_last], [gradient.contiguous(memory_format=last)], momenta[1:], 0.1)
    assert torch.equal(rows, channels_last)
    assert torch.equal(*momenta)
    assert channels_last.stride() == momenta[1].stride() == strides


def test_only_parameters_and_momenta_change_and_not_what_autograd_knows() -> None:
    parameter = nn.Parameter(torch.randn(16, 16, 3, 3))
    gradient = torch.randn(16, 16, 3, 3)
    before, momenta = gradient.clone(), [torch.zeros(16, 16, 3, 3)]
    muon([parameter], [gradient], momenta, 0.1)
    assert torch.equal(gradient, before)
    assert parameter.is_leaf
    assert parameter.requires_grad
    assert not momenta[0].requires_grad


@pytest.mark.parametrize(("patch", "image_channels"), [(1, 1), (2, 1), (3, 1), (1, 3), (2, 3)])
def test_the_attention_unets_hidden_convolutions_suit(patch: int, image_channels: int) -> None:
    network = UNet(image_channels, (16, 24), blocks=1, attention=("linear", "full"), patch=patch, kind="layer")
    convolutions = {name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)}
    expected = {f"{name}.weight" for name in convolutions - {"stem", "out"}}
    assert len(expected) > 10
    assert {name for name, parameter in network.named_parameters() if suits_muon(parameter)} == expected


def test_the_other_networks_hidden_convolutions_suit() -> None:
    plain = PlainUNet(3, (16, 24))
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    convolutions = {name for name, layer in plain.named_modules() if isinstance(layer, kinds)}
    expected = {f"{name}.weight" for name in convolutions - {"stem", "out"}}
    assert {name for name, parameter in plain.named_parameters() if suits_muon(parameter)} == expected
    connected = FullyConnectedUNet((1, 8, 8), (64, 32))
    assert not any(suits_muon(parameter) for parameter in connected.parameters())


def test_narrow_kernels_and_other_parameters_do_not_suit() -> None:
    shapes = {(16, 16, 1, 1): True, (15, 64, 3, 3): False, (64, 15, 3, 3): False, (64, 64): False, (64,): False}
    assert {shape: suits_muon(nn.Parameter(torch.zeros(shape))) for shape in shapes} == shapes


OPTIONS = {"lr": 1e-2, "weight_decay": 0.1}


def layers() -> nn.Module:
    """Return kernels for both optimizers between other parameters."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.Conv2d(16, 24, 3),
        nn.GroupNorm(4, 24),
        nn.Linear(20, 30),
        nn.Conv2d(24, 16, 1, bias=False),
        nn.Conv2d(16, 2, 1),
    )


def give_gradients(seed: int, *models: nn.Module) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameters in zip(*(model.parameters() for model in models), strict=True):
        gradient = torch.randn(parameters[0].shape, generator=generator)
        for parameter in parameters:
            parameter.grad = gradient.clone()


def assert_same(one: nn.Module, other: nn.Module) -> None:
    right = other.state_dict()
    assert [name for name, value in one.state_dict().items() if not torch.equal(value, right[name])] == []


def test_the_optimizer_gives_each_parameter_its_own_update() -> None:
    ours = layers()
    theirs = copy.deepcopy(ours)
    optimizer = AdamWAndMuon(ours.parameters(), **OPTIONS)
    kernels = [p for p in theirs.parameters() if suits_muon(p)]
    assert len(kernels) == 2
    adamw = torch.optim.AdamW([p for p in theirs.parameters() if not suits_muon(p)], **OPTIONS)
    momenta = [torch.zeros_like(p) for p in kernels]
    for step in range(3):
        rate = 1e-2 / (step + 1)
        give_gradients(step, ours, theirs)
        for group in (*optimizer.param_groups, *adamw.param_groups):
            group["lr"] = rate
        adamw.step()
        muon(kernels, [p.grad for p in kernels if p.grad is not None], momenta, rate)
        assert optimizer.step() is None  # type: ignore[func-returns-value]
        assert_same(ours, theirs)
        optimizer.zero_grad()
        assert all(p.grad is None for p in ours.parameters())
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        keys = {"momentum", "step"} if suits_muon(one) else {"step", "exp_avg", "exp_avg_sq"}
        assert set(optimizer.state[one]) == keys
        for key in keys - {"momentum", "step"}:
            assert torch.equal(optimizer.state[one][key], adamw.state[other][key])
    for kernel, momentum in zip((p for p in ours.parameters() if suits_muon(p)), momenta, strict=True):
        assert torch.equal(optimizer.state[kernel]["momentum"], momentum)


def test_the_optimizer_leaves_what_has_no_gradient() -> None:
    model = layers()
    optimizer, before = AdamWAndMuon(model.parameters(), **OPTIONS), copy.deepcopy(model)
    give_gradients(0, model)
    for i in (0, 1):
        model[i].weight.grad = None  # type: ignore[index,union-attr]
    optimizer.step()
    changed = [not torch.equal(*pair) for pair in zip(model.parameters(), before.parameters(), strict=True)]
    has_gradient = [p.grad is not None for p in model.parameters()]
    assert changed == has_gradient
    assert [bool(optimizer.state.get(p)) for p in model.parameters()] == has_gradient


@pytest.mark.parametrize("kinds", [(nn.Linear(4, 4),), (nn.Conv2d(16, 16, 3, bias=False),)], ids=["none", "all"])
def test_the_optimizer_works_where_one_kind_is_missing(kinds: tuple[nn.Module, ...]) -> None:
    model = nn.Sequential(*copy.deepcopy(kinds))
    before = copy.deepcopy(model)
    give_gradients(0, model)
    AdamWAndMuon(model.parameters(), **OPTIONS).step()
    assert not any(torch.equal(*pair) for pair in zip(model.parameters(), before.parameters(), strict=True))


def test_a_loaded_optimizer_goes_on_as_if_never_stopped() -> None:
    ours = layers()
    optimizer = AdamWAndMuon(ours.parameters(), **OPTIONS)
    for step in range(2):
        give_gradients(step, ours)
        optimizer.step()
    theirs = copy.deepcopy(ours)
    resumed = AdamWAndMuon(theirs.parameters(), **(OPTIONS | {"lr": 1.0}))
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for step in range(2, 4):
        give_gradients(step, ours, theirs)
        optimizer.step()
        resumed.step()
        assert_same(theirs, ours)


def _interrupt(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Let the user ask to stop during step ``at``."""
    step = Learner.step

    def interrupted(self: Learner, learning_rate: float) -> dict[str, Tensor]:
        if self.position.step + 1 == at:
            signal.raise_signal(signal.SIGINT)
        return step(self, learning_rate)

    monkeypatch.setattr(Learner, "step", interrupted)


@pytest.mark.parametrize("update", [KernelUpdate, pytest.param(TorchUpdate, marks=pytest.mark.slow)])
def test_a_resumed_run_equals_an_uninterrupted_one(
    update: type,
    make_config: Callable[..., Config],
    make_learner: Callable[..., Learner],
    digits: Splits,
    same_run: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config("training.optimizer=muon", "training.images=192", "training.clip=0.5")
    if update is TorchUpdate:
        monkeypatch.setattr("unstir.training.learner.library", lambda: None)
    elif library() is None:
        pytest.skip("the kernels need Linux and a C++ compiler")
    assert isinstance(make_learner(config).updates["main"], update)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    loop.train(config, whole, digits, time.monotonic())
    with monkeypatch.context() as patch:
        _interrupt(patch, at=7)
        with pytest.raises(loop.Interrupted):
            loop.train(config, parts, digits, time.monotonic())
    (newest,) = (parts / "checkpoints").glob("step-000000007.safetensors")
    keys = {key.split(".")[2] for key in tensors(newest) if key.startswith("optimizer.main.")}
    assert keys == {"momentum", "step", "exp_avg", "exp_avg_sq"}
    loop.train(config, parts, digits, time.monotonic())
    same_run(whole, parts, pictures=False)
