from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from unstir.kernels import attention as module
from unstir.kernels.attention import attention
from unstir.kernels.library import library

kernels = pytest.mark.skipif(library() is None, reason="the kernels need Linux and a C++ compiler")

SHAPES = [(2, 3, 16, 8), (1, 1, 1, 4), (2, 1, 7, 5), (1, 2, 49, 16), (3, 2, 65, 3), (1, 1, 256, 64)]
"""B, heads, pixels, d."""


@pytest.fixture
def no_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test fail that would compare PyTorch's operator with itself."""

    def refuse(*args: object) -> Tensor:
        raise AssertionError("the kernel was not used")

    monkeypatch.setattr(functional, "scaled_dot_product_attention", refuse)


@pytest.fixture
def fallback(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the pixels of each call of PyTorch's operator."""
    calls, operator = [], functional.scaled_dot_product_attention

    def counted(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        calls.append(q.shape[-2])
        return operator(q, k, v)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    return calls


def definition(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1) @ v


def with_gradients(f: Callable[..., Tensor], inputs: tuple[Tensor, ...], do: Tensor) -> list[Tensor]:
    """Return f of the inputs and its gradients."""
    inputs = tuple(part.detach().requires_grad_() for part in inputs)
    output = f(*inputs)
    return [output.detach(), *torch.autograd.grad(output, inputs, do)]


def exact(inputs: tuple[Tensor, ...], do: Tensor) -> list[Tensor]:
    return with_gradients(definition, tuple(part.double() for part in inputs), do.double())


def drawn(shape: tuple[int, ...], kind: torch.dtype = torch.float32) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return q, k, v, all different, and the gradient of the output."""
    q, k, v, do = (torch.randn(shape).to(kind) for _ in range(4))
    return (1.5 * q, k + 0.3, v - 0.5), do


@kernels
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_equals_its_definition(shape: tuple[int, ...], no_fallback: None) -> None:
    inputs, do = drawn(shape)
    results = with_gradients(attention, inputs, do)
    for name, result, right in zip(("o", "dq", "dk", "dv"), results, exact(inputs, do), strict=True):
        torch.testing.assert_close(
            result.double(), right, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@kernels
@pytest.mark.parametrize("shape", [s for s in SHAPES if s[2] > 1], ids=str)
def test_in_bfloat16_it_errs_as_little_as_pytorch(shape: tuple[int, ...]) -> None:
    inputs, do = drawn(shape, torch.bfloat16)
    results = with_gradients(attention, inputs, do)
    theirs = with_gradients(functional.scaled_dot_product_attention, inputs, do)
    for result, their, right in zip(results, theirs, exact(inputs, do), strict=True):
        assert result.dtype == torch.bfloat16
        allowed = max(2 * (their - right).norm(), 0.01 * right.norm())
        assert (result - right).norm() < allowed


CROSSED = [(5, 9, 6, 6), (9, 5, 6, 6), (64, 1, 8, 8), (1, 77, 16, 16), (30, 7, 4, 10), (7, 30, 10, 4)]
"""Queries, keys, width of both, width of the values."""


@kernels
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", CROSSED, ids=str)
def test_values_need_be_neither_as_many_nor_as_wide_as_queries(
    shape: tuple[int, ...], kind: torch.dtype, no_fallback: None
) -> None:
    queries, keys, d, e = shape
    sizes = (queries, d), (keys, d), (keys, e), (queries, e)
    q, k, v, do = (torch.randn(2, 3, *size).to(kind) for size in sizes)
    results = with_gradients(attention, (q, k, v), do)
    assert [result.shape[-2:] for result in results] == [(queries, e), *sizes[:3]]
    size, error = (0.02, 2e-2) if kind == torch.bfloat16 else (1e-5, 1e-5)
    for result, right in zip(results, exact((q, k, v), do), strict=True):
        torch.testing.assert_close(result.double(), right, rtol=error, atol=size * (1 + float(right.abs().max())))


@kernels
@pytest.mark.parametrize("shape", [(2, 3, 16, 8), (1, 2, 7, 5)], ids=str)
def test_gradients_of_the_gradients(shape: tuple[int, ...], no_fallback: None) -> None:
    inputs, do = drawn(shape)
    results = []
    for f, convert in ((attention, torch.Tensor.float), (definition, torch.Tensor.double)):
        parts = [convert(part.detach()).requires_grad_() for part in inputs]
        up = convert(do).requires_grad_()
        first = torch.autograd.grad(f(*parts), parts, up, create_graph=True)
        penalty = sum(part.square().sum() for part in first)
        results.append([penalty.detach(), *torch.autograd.grad(penalty, [*parts, up])])
    for result, right in zip(*results, strict=True):
        torch.testing.assert_close(result.double(), right, rtol=1e-4, atol=1e-5 * float(right.abs().max()))


@kernels
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_a_part_alone_gets_the_gradient_it_gets_with_others(kind: torch.dtype, no_fallback: None) -> None:
    """Queries of the pixels may need one where keys and values, of a frozen layer and of tokens, do not."""
    (q, k, v), do = drawn((2, 2, 12, 8), kind)
    _, *together = with_gradients(attention, (q, k[:, :, :5], v[:, :, :5]), do)
    (alone,) = torch.autograd.grad(attention(q.requires_grad_(), k[:, :, :5], v[:, :, :5]), q, do)
    assert torch.equal(alone, together[0])


@kernels
def test_memory_layout_does_not_matter(no_fallback: None) -> None:
    """The parts of one linear layer's output, with the heads moved before the pixels, as the network has them."""
    parts = torch.randn(2, 10, 3, 4, 8)
    do = torch.randn(2, 10, 4, 8).transpose(1, 2)
    q, k, v = parts.permute(2, 0, 3, 1, 4)
    expected = with_gradients(attention, (q.contiguous(), k.contiguous(), v.contiguous()), do.contiguous())
    for result, right in zip(with_gradients(attention, (q, k, v), do), expected, strict=True):
        torch.testing.assert_close(result, right, rtol=1e-6, atol=1e-6)
    one = torch.ones(()).expand(do.shape)
    for result, right in zip(with_gradients(attention, (q, k, v), one), exact((q, k, v), one), strict=True):
        torch.testing.assert_close(result.double(), right, rtol=1e-5, atol=1e-5)


@kernels
def test_a_part_alone_may_need_a_gradient(no_fallback: None) -> None:
    inputs, do = drawn((1, 2, 6, 4))
    expected = exact(inputs, do)[1:]
    for i in range(3):
        parts = [part.detach().clone().requires_grad_(i == j) for j, part in enumerate(inputs)]
        (gradient,) = torch.autograd.grad(attention(*parts), parts[i], do)
        torch.testing.assert_close(gradient.double(), expected[i], rtol=1e-5, atol=1e-5)


@kernels
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [30.0, 1e4])
def test_large_logits_do_not_overflow(kind: torch.dtype, size: float, no_fallback: None) -> None:
    (q, k, v), do = drawn((1, 2, 33, 8), kind)
    results = with_gradients(attention, (size * q, size * k, v), do)
    assert all(bool(result.isfinite().all()) for result in results)
    # With such logits a query takes the value of its best key, or a mean of values if some are as good.
    best = (q.double() @ k.double().transpose(-1, -2)).topk(2).values
    clear = best[..., 0] - best[..., 1] > 0.02 * best[..., 0].abs() + 0.1
    assert clear.any()
    chosen = (q.double() @ k.double().transpose(-1, -2)).argmax(-1)
    expected = v.gather(2, chosen[..., None].expand(v.shape))
    torch.testing.assert_close(results[0][clear], expected[clear], rtol=1e-2, atol=1e-2)


@kernels
@pytest.mark.parametrize("size", [500.0, -500.0])
def test_a_constant_added_to_all_logits_changes_nothing(size: float, no_fallback: None) -> None:
    q, v = torch.ones(1, 1, 20, 4), torch.randn(1, 1, 20, 4)
    k = torch.randint(-64, 64, (1, 1, 20, 4)) / 64  # so that the sums below are exact
    result = attention(q.requires_grad_(), k + size, v)
    torch.testing.assert_close(result, definition(q, k, v), rtol=1e-5, atol=1e-5)


@kernels
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_what_is_no_number_shows(kind: torch.dtype, part: str, no_fallback: None) -> None:
    inputs, do = drawn((2, 2, 20, 8), kind)
    inputs["qkv".index(part)][0, 1, 3, 2] = float("nan")
    output, *gradients = with_gradients(attention, inputs, do)
    expected, *right = exact(inputs, do)
    assert torch.equal(output.isnan(), expected.isnan())
    assert all(torch.equal(one.isnan(), other.isnan()) for one, other in zip(gradients, right, strict=True))


@kernels
def test_an_image_gives_the_same_alone_and_with_any_number_of_threads(
    threads: Callable[[int], None], no_fallback: None
) -> None:
    inputs, do = drawn((3, 2, 33, 8))
    threads(1)
    whole = with_gradients(attention, inputs, do)
    alone = with_gradients(attention, tuple(part[1:2] for part in inputs), do[1:2])
    for one, all_ in zip(alone, whole, strict=True):
        torch.testing.assert_close(one, all_[1:2], rtol=1e-6, atol=1e-6)
    threads(3)
    for one, other in zip(with_gradients(attention, inputs, do), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@kernels
def test_beyond_most_pairs_it_is_pytorchs(monkeypatch: pytest.MonkeyPatch, fallback: list[int]) -> None:
    monkeypatch.setattr(module, "MOST_PAIRS", 16**2)
    for pixels in (16, 17):
        inputs, do = drawn((1, 2, pixels, 8))
        for result, right in zip(with_gradients(attention, inputs, do), exact(inputs, do), strict=True):
            torch.testing.assert_close(result.double(), right, rtol=1e-5, atol=1e-5)
    assert fallback == [17]
    q, k = torch.randn(1, 1, 4, 8, requires_grad=True), torch.randn(1, 1, 65, 8)
    attention(q, k[:, :, :64], k[:, :, :64])
    assert fallback == [17]
    attention(q, k, k)
    assert fallback == [17, 4]  # it is both sides that count


@kernels
def test_without_gradients_it_is_pytorchs(fallback: list[int]) -> None:
    (q, k, v), _ = drawn((1, 2, 12, 8))
    expected = attention(q.clone().requires_grad_(), k, v).detach()
    assert fallback == []
    results = [attention(q, k, v)]  # nothing that learns
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            results.append(attention(q.clone().requires_grad_(), k, v))
    assert fallback == [12, 12, 12]
    for result in results:
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


def test_other_types_and_empty_batches(fallback: list[int]) -> None:
    (q, k, v), do = drawn((2, 1, 5, 4))
    wide = tuple(part.double() for part in (q, k, v))
    results = with_gradients(attention, wide, do.double())
    torch.testing.assert_close(results, exact((q, k, v), do))
    assert fallback == [5]
    nothing = torch.zeros(2, 3, 0, 4)
    assert not attention(torch.randn(2, 3, 5, 4, requires_grad=True), nothing, nothing).any()
    inputs, do = drawn((0, 2, 5, 4))
    assert all(result.shape == (0, 2, 5, 4) for result in with_gradients(attention, inputs, do))


@kernels
def test_under_autocast_both_sides_are_of_one_type(no_fallback: None) -> None:
    inputs, do = drawn((1, 2, 20, 8), torch.bfloat16)
    inputs = tuple(part.requires_grad_() for part in inputs)
    with torch.autocast("cpu", torch.bfloat16):
        output = attention(*inputs)
    assert output.dtype == torch.bfloat16
    gradients = torch.autograd.grad(output, inputs, do)
    for gradient, right in zip(gradients, exact(inputs, do)[1:], strict=True):
        assert (gradient - right).norm() < 0.02 * right.norm()
