from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from unstir.kernels.convolution import convolution
from unstir.kernels.library import library

kernels = pytest.mark.skipif(library() is None, reason="the kernels need Linux and a C++ compiler")

SHAPES = [(2, 16, 32, 8, 8), (1, 48, 16, 4, 4), (3, 32, 32, 7, 5), (2, 16, 16, 13, 4), (2, 32, 48, 6, 21)]
"""B, I, O, H, W: whole squares of 4x4 outputs, and squares that the edges cut."""


@pytest.fixture
def no_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test fail that would compare PyTorch's operator with itself."""

    def refuse(*args: object, **options: object) -> Tensor:
        raise AssertionError("the kernel was not used")

    monkeypatch.setattr(functional, "conv2d", refuse)


def drawn(batch: int, inputs: int, outputs: int, height: int, width: int) -> tuple[Tensor, ...]:
    """Return x, kernel, bias and the gradient of the output, in float64."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, inputs, height, width), (outputs, inputs, 3, 3), (outputs,), (batch, outputs, height, width)]
    x, kernel, bias, dy = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return x, kernel / (9 * inputs) ** 0.5, bias, dy


def with_gradients(f: Callable[..., Tensor], x: Tensor, kernel: Tensor, bias: Tensor, dy: Tensor) -> list[Tensor]:
    inputs = [part.detach().requires_grad_() for part in (x, kernel, bias)]
    y = f(*inputs)
    return [y.detach(), *torch.autograd.grad(y, inputs, dy)]


def definition(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    return torch.conv2d(x, kernel, bias, padding=1)


@kernels
@pytest.mark.usefixtures("no_fallback")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_and_its_gradients_equal_the_definition(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    exact = drawn(*shape)
    rounded = [
        part.float().contiguous(memory_format=layout) if part.dim() == 4 else part.float() for part in exact
    ]
    for ours, theirs in zip(
        with_gradients(convolution, *rounded), with_gradients(definition, *exact), strict=True
    ):
        assert ours.shape == theirs.shape
        assert float((ours - theirs).abs().max()) < 1e-5 * float(theirs.abs().max())


@kernels
@pytest.mark.usefixtures("no_fallback")
def test_only_the_gradients_asked_for_are_made() -> None:
    x, kernel, bias, dy = (part.float() for part in drawn(2, 16, 32, 8, 8))
    (alone,) = torch.autograd.grad(convolution(x, kernel.requires_grad_(), None), kernel, dy)
    together = with_gradients(convolution, x, kernel, bias, dy)
    assert torch.equal(alone, together[2])
    (alone,) = torch.autograd.grad(convolution(x.requires_grad_(), kernel.detach(), None), x, dy)
    assert torch.equal(alone, together[1])


@kernels
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("learns", [(True, True, True), (True, False, False), (False, True, True)], ids=str)
def test_gradients_of_the_gradients(layout: torch.memory_format, learns: tuple[bool, ...]) -> None:
    """Also where the first gradient is of a part alone."""
    results = []
    for f, kind in ((convolution, torch.float32), (definition, torch.float64)):
        x, kernel, bias, dy = (part.to(kind) for part in drawn(2, 16, 32, 7, 5))
        inputs = [x.contiguous(memory_format=layout), kernel, bias]
        inputs = [part.requires_grad_(needs) for part, needs in zip(inputs, learns, strict=True)]
        wanted = [part for part in inputs if part.requires_grad]
        dy.requires_grad_()
        for power in (1, 3):  # of which the first makes what comes from above independent of the inputs
            first = torch.autograd.grad((dy * f(*inputs) ** power).sum(), wanted, create_graph=True)
            penalty = sum(part.square().sum() for part in first)
            options = {"allow_unused": True, "materialize_grads": True}
            results.append([penalty.detach(), *torch.autograd.grad(penalty, [*wanted, dy], **options)])
    for ours, theirs in zip(results[:2], results[2:], strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert float((one - other).abs().max()) <= 1e-4 * float(other.abs().max())


@kernels
@pytest.mark.usefixtures("no_fallback")
def test_memory_beyond_the_images_does_not_matter() -> None:
    x, kernel, bias, _ = (part.float() for part in drawn(4, 16, 16, 5, 6))
    infinite = torch.full((6, 16, 5, 6), float("inf")).contiguous(memory_format=torch.channels_last)
    infinite[1:5] = x
    torch.testing.assert_close(
        convolution(infinite[1:5], kernel, bias), definition(x, kernel, bias), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((2, 3, 16, 8, 8), torch.float32),
        ((2, 16, 3, 8, 8), torch.float32),
        ((2, 16, 16, 8, 3), torch.float32),
        ((0, 16, 16, 8, 8), torch.float32),
        ((2, 16, 16, 8, 8), torch.float64),
        ((2, 16, 16, 8, 8), torch.bfloat16),
    ],
)
def test_what_does_not_suit_it_goes_to_pytorch(shape: tuple[int, ...], kind: torch.dtype) -> None:
    x, kernel, bias, _ = (part.to(kind) for part in drawn(*shape))
    assert torch.equal(convolution(x, kernel, bias), definition(x, kernel, bias))


def test_under_autocast_it_goes_to_pytorch() -> None:
    x, kernel, bias, _ = (part.float() for part in drawn(2, 16, 16, 8, 8))
    with torch.autocast("cpu", torch.bfloat16):
        assert convolution(x, kernel, bias).dtype == torch.bfloat16
