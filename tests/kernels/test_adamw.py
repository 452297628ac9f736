from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from unstir.kernels.adamw import EPSILON, adamw, gradient_norm
from unstir.kernels.library import library

pytestmark = pytest.mark.skipif(library() is None, reason="the kernels need Linux and a C++ compiler")

SHAPES = [(6, 5, 3, 3), (7,), (1,), (), (130, 70), (8192,), (16384,), (3, 8193), (4, 4, 1, 1)]
"""Convolutions, vectors, single numbers, and sizes around the kernel's blocks of 8192."""


@dataclass
class Weights:
    """What an update changes."""

    parameters: list[Tensor]
    first: list[Tensor | None]
    second: list[Tensor | None]
    averages: list[Tensor]
    copies: list[Tensor | None]

    def step(self, gradients: list[Tensor], **options: object) -> None:
        adamw(
            self.parameters,
            gradients,
            list(zip(self.first, self.second, strict=True)),
            self.averages,
            self.copies,
            **options,  # type: ignore[arg-type]
        )


def laid_out(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def fresh(shapes: list[tuple[int, ...]] = SHAPES) -> Weights:
    """Return weights as training starts with them, every other one with a copy, some of them zeros."""
    parameters = [laid_out(torch.randn(shape)) for shape in shapes]
    if len(parameters) > 4:
        parameters[4].zero_()
    return Weights(
        parameters,
        [torch.zeros_like(p) for p in parameters],
        [torch.zeros_like(p) for p in parameters],
        [p.clone() for p in parameters],
        [torch.empty_like(p, dtype=torch.bfloat16) if i % 2 == 0 else None for i, p in enumerate(parameters)],
    )


def some_gradients(weights: Weights, size: float, kinds: tuple[torch.dtype, ...]) -> list[Tensor]:
    """Return gradients of all sizes around ``size``, in the types in turn."""
    return [
        laid_out(size * torch.randn(p.shape) * torch.randn(p.shape).exp()).to(kinds[i % len(kinds)])
        for i, p in enumerate(weights.parameters)
    ]


def close(results: Sequence[Tensor | None], expected: Sequence[Tensor], rtol: float, atol: float) -> None:
    for result, right in zip(results, expected, strict=True):
        assert result is not None
        torch.testing.assert_close(result.double(), right.detach(), rtol=rtol, atol=atol)


@pytest.mark.parametrize("betas", [None, (0.5, 0.9), (0.0, 0.99)])
@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("kinds", [(torch.float32,), (torch.bfloat16,), (torch.float32, torch.bfloat16)], ids=str)
def test_steps_equal_pytorchs(
    scale: float, decay: float, kinds: tuple[torch.dtype, ...], betas: tuple[float, float] | None
) -> None:
    own = {} if betas is None else {"betas": betas}  # PyTorch's defaults are the kernel's
    weights = fresh()
    exact = [p.double().requires_grad_() for p in weights.parameters]
    averages = [p.detach().clone() for p in exact]
    optimizer = torch.optim.AdamW(exact, lr=1.0, eps=EPSILON, weight_decay=decay, **own)
    path = 0.0  # how far a weight can have come
    for step in range(1, 8):
        rate, average = 1e-2 / step, 1 - (1 + step) / (10 + step)
        path += rate
        gradients = some_gradients(weights, 0.02 * step, kinds)
        weights.step(gradients, step=step, rate=rate, decay=decay, scale=scale, average=average, **own)
        for p, gradient in zip(exact, gradients, strict=True):
            p.grad = scale * gradient.double()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, exact, average)
        close(weights.parameters, exact, 1e-6, 1e-5 * path)
        close(weights.averages, averages, 1e-6, 1e-5 * path)
        for key, results in (("exp_avg", weights.first), ("exp_avg_sq", weights.second)):
            right = [optimizer.state[p][key] for p in exact]
            close(results, right, 2e-6, 1e-7 * max(float(r.abs().max()) for r in right))
        for parameter, low in zip(weights.parameters, weights.copies, strict=True):
            assert low is None or torch.equal(low, parameter.bfloat16())


def test_the_gradients_stay_as_they_are() -> None:
    weights = fresh()
    gradients = some_gradients(weights, 1.0, (torch.float32, torch.bfloat16))
    before = [gradient.clone() for gradient in gradients]
    weights.step(gradients, step=1, rate=0.1, decay=0.1, scale=0.1, average=0.5)
    assert all(torch.equal(a, b) for a, b in zip(gradients, before, strict=True))


def test_parameters_without_moments_are_only_averaged_and_copied() -> None:
    """While those beside them move as if alone."""
    weights, alone, idle = fresh(), fresh(), range(0, len(SHAPES), 3)
    for part in (weights, alone):
        for i, average in enumerate(part.averages):
            average.copy_(torch.randn(average.shape, generator=torch.Generator().manual_seed(i)))
        for result, p in zip(part.parameters, weights.parameters, strict=True):
            result.copy_(p)
    before = copy.deepcopy(weights)
    for i in idle:
        weights.first[i] = weights.second[i] = None
    gradients = some_gradients(weights, 1.0, (torch.float32, torch.bfloat16))
    options = {"step": 1, "rate": 0.01, "decay": 0.1, "scale": 0.5, "average": 0.25}
    weights.step(gradients, **options)
    alone.step(gradients, **options)
    for i, parameter in enumerate(weights.parameters):
        assert torch.equal(parameter, (before if i in idle else alone).parameters[i])
        expected = before.averages[i] + 0.25 * (parameter - before.averages[i])
        torch.testing.assert_close(weights.averages[i], expected, rtol=1e-6, atol=1e-6)
        low = weights.copies[i]
        assert low is None or torch.equal(low, parameter.bfloat16())
    assert {weights.copies[i] is None for i in idle} == {False, True}


def test_the_norm_is_that_of_all_gradients_together() -> None:
    """Of numbers of very different size, whose squares a sum in one float would lose."""
    gradients = [torch.tensor([3.0, 0.0, 4.0]), torch.full((2, 300_000), 1e-3), torch.tensor([-12.0])]
    assert gradient_norm(gradients) == pytest.approx((9 + 16 + 0.6 + 144) ** 0.5, rel=1e-6)


def test_gradients_of_zero_move_nothing() -> None:
    weights = fresh()
    before = [p.clone() for p in weights.parameters]
    gradients = [torch.zeros_like(p) for p in weights.parameters]
    assert gradient_norm(gradients) == 0
    weights.step(gradients, step=1, rate=0.1, decay=0.0, scale=1.0, average=0.3)
    assert all(torch.equal(a, b) for a, b in zip(weights.parameters, before, strict=True))


def _rounded(values: Tensor) -> Tensor:
    """Return the copy of weights that a step does not change."""
    low = torch.empty_like(values, dtype=torch.bfloat16)
    weights = Weights([values.clone()], [None], [None], [torch.zeros_like(values)], [low])
    weights.step([torch.zeros_like(values)], step=1, rate=0.0, decay=0.0, scale=1.0, average=0.0)
    assert torch.equal(weights.parameters[0], values)
    return low


def test_copies_are_rounded_to_the_nearest_and_ties_to_even() -> None:
    steps = torch.arange(-(2**15), 2**15, dtype=torch.int32) * 2**15 + 2**29  # every second one a tie
    ties = steps.view(torch.float32)
    ties = ties[ties.isfinite()]
    assert len(ties) > 60_000
    near = torch.cat([torch.nextafter(ties, torch.tensor(end)) for end in (-1e38, 1e38)])
    values = torch.cat([ties, -ties, near, torch.randn(1000), torch.tensor([0.0, 3.4e38, -3.4e38])])
    values = values[values.abs() > 1e-30]  # far from what is too small for a normal number
    assert torch.equal(_rounded(values), values.bfloat16())
    halves = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20])  # between 1, 1 + 2^-7 and 1 + 2^-6
    assert _rounded(halves).tolist() == [1.0, 1 + 2**-6, 1 + 2**-7]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_a_gradient_that_is_no_number_shows_in_the_norm(bad: float, kind: torch.dtype) -> None:
    weights = fresh()
    gradients = some_gradients(weights, 1.0, (kind,))
    gradients[4][100, 3] = bad
    assert not math.isfinite(gradient_norm(gradients))
    weights.step(gradients, step=1, rate=0.1, decay=0.0, scale=1.0, average=0.3)
    low = weights.copies[4]
    assert low is not None
    for tensor in (weights.parameters[4], weights.averages[4], low):
        assert tensor[100, 3].isnan()


def test_the_number_of_threads_does_not_matter(threads: Callable[[int], None]) -> None:
    results = []
    for count in (1, 2, 3):
        threads(count)
        torch.manual_seed(1)
        weights = fresh()
        norms = []
        for step in (1, 2, 3):
            gradients = some_gradients(weights, 1.0, (torch.float32, torch.bfloat16))
            norms.append(torch.tensor(gradient_norm(gradients)))
            weights.step(gradients, step=step, rate=0.01, decay=0.1, scale=0.5, average=0.3)
        results.append([*norms, *weights.parameters, *weights.first, *weights.second, *weights.averages])
    for other in results[1:]:
        for one, another in zip(results[0], other, strict=True):
            assert one is not None
            assert another is not None
            assert torch.equal(one, another)
