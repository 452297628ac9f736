"""The floor of a training step: what its convolutions and matrix products take when nothing else is done.

Every such product of one real step, forward and backward, is recorded with the shapes, strides and types of its
tensors. Each distinct one is then run alone, on tensors of its own, as it was laid out, contiguous, and with
channels last; the fastest counts, times how often the step does it. Caches are warm and nothing comes between, so
no step on these kernels is faster: step / floor says what norms, activations, copies and the optimizer cost.

Convolutions count by their definition, and the floor is that of PyTorch's own: unstir's, where it has any, do the
same with a quarter of the operations, and can go below.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten

_ATTENTION_FORWARD = {
    aten._scaled_dot_product_flash_attention_for_cpu,
    aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_cudnn_attention,
}
_ATTENTION_BACKWARD = {
    aten._scaled_dot_product_flash_attention_for_cpu_backward,
    aten._scaled_dot_product_flash_attention_backward,
    aten._scaled_dot_product_efficient_attention_backward,
    aten._scaled_dot_product_cudnn_attention_backward,
}
_MATRIX = {aten.mm: (0, 1), aten.bmm: (0, 1), aten.addmm: (1, 2), aten.baddbmm: (1, 2)}
_CONVOLUTION = {aten.convolution, aten.convolution_backward}
Shape = tuple[int, ...]

PRODUCTS = {*_ATTENTION_FORWARD, *_ATTENTION_BACKWARD, *_MATRIX, *_CONVOLUTION}


@contextmanager
def _by_definition() -> Iterator[None]:
    """Let unstir's networks take PyTorch's convolutions."""

    def convolution(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        return torch.nn.functional.conv2d(x, kernel, bias, padding=1)

    with patch("unstir.networks.blocks.convolution", convolution):
        yield


def count_flops(step: Callable[[], object]) -> int:
    """Return the floating-point operations of one call, by torch's counter; a multiply-add counts as two."""
    mapping = {  # torch counts attention on every device but the CPU
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    with _by_definition(), FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        step()
    return counter.get_total_flops()


def _attention_forward(q: Shape, k: Shape, v: Shape, *_: object, **__: object) -> int:
    return 2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


def _attention_backward(gradient: Shape, q: Shape, k: Shape, v: Shape, *_: object, **__: object) -> int:
    """Count the scores, again, and the gradients of the two products."""
    return 2 * math.prod(q[:-1]) * k[-2] * (3 * q[-1] + 2 * v[-1])


@dataclass(frozen=True)
class Layout:
    """A tensor without its values."""

    shape: Shape
    stride: Shape
    dtype: torch.dtype
    device: str

    @classmethod
    def of(cls, tensor: Tensor) -> Layout:
        """Return the layout of a tensor."""
        return cls(tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype, str(tensor.device))

    def tensor(self, order: str) -> Tensor:
        """Return normal noise of this shape, laid out as ``order`` says; zeros for integers."""
        if not self.dtype.is_floating_point:
            return torch.zeros(self.shape, dtype=self.dtype, device=self.device)
        if order == "recorded" and 0 not in self.stride:
            return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=self.device).normal_()
        tensor = torch.randn(self.shape, device=self.device).to(self.dtype)
        last = order == "channels_last" and len(self.shape) == 4
        return tensor.contiguous(memory_format=torch.channels_last) if last else tensor


@dataclass(frozen=True)
class Product:
    """One convolution, matrix product or attention, forward or backward."""

    operator: Any
    leaves: tuple[Any, ...]
    structure: Any

    @classmethod
    def of(cls, operator: Any, args: Any, kwargs: Any) -> Product:
        """Return what was called, without values."""
        leaves, structure = tree_flatten((args, kwargs))
        frozen = tuple(Layout.of(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves)
        return cls(operator, frozen, structure)

    @property
    def name(self) -> str:
        """The operator and the shapes that its cost depends on."""
        shapes = [leaf.shape for leaf in self.leaves if isinstance(leaf, Layout) and len(leaf.shape) > 1]
        return f"{self.operator.overloadpacket.__name__} " + " ".join("x".join(map(str, s)) for s in shapes[:3])

    @property
    def flops(self) -> int:
        """Its floating-point operations; a multiply-add counts as two."""
        packet = self.operator.overloadpacket
        args, _ = tree_unflatten(list(self.leaves), self.structure)
        if packet in _MATRIX:
            a, b = (args[index].shape for index in _MATRIX[packet])
            return 2 * math.prod(a) * b[-1]
        if packet in _ATTENTION_FORWARD:
            return _attention_forward(*(arg.shape for arg in args[:3]))
        if packet in _ATTENTION_BACKWARD:
            return _attention_backward(*(arg.shape for arg in args[:4]))
        if packet is aten.convolution:
            x, weight, transposed = args[0], args[1], args[6]
            outputs = math.prod(x.shape[2:]) if transposed else math.prod(_reduced(x.shape[2:], args))
            return 2 * x.shape[0] * outputs * math.prod(weight.shape)
        gradient, x, weight, transposed, mask = args[0], args[1], args[2], args[7], args[10]
        positions = math.prod((x if transposed else gradient).shape[2:])
        return 2 * x.shape[0] * positions * math.prod(weight.shape) * sum(mask[:2])

    def seconds(self) -> float:
        """Return how long it takes alone, in its fastest layout."""
        images = any(isinstance(leaf, Layout) and len(leaf.shape) == 4 for leaf in self.leaves)
        orders = ("recorded", "contiguous", "channels_last") if images else ("recorded", "contiguous")
        return min(self._time(order) for order in orders)

    def _time(self, order: str) -> float:
        leaves = [leaf.tensor(order) if isinstance(leaf, Layout) else leaf for leaf in self.leaves]
        args, kwargs = tree_unflatten(leaves, self.structure)
        on_gpu = any(isinstance(leaf, Tensor) and leaf.is_cuda for leaf in leaves)
        return fastest(lambda: self.operator(*args, **kwargs), on_gpu)


def _reduced(size: Shape, args: Any) -> list[int]:
    """Return the output size of a convolution: its input's, less the kernel's reach, over the stride."""
    kernel, stride, padding, dilation = args[1].shape[2:], args[3], args[4], args[5]
    parts = zip(size, kernel, stride, padding, dilation)
    return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in parts]


def fastest(call: Callable[[], object], on_gpu: bool) -> float:
    """Return the seconds of one call: the best of four groups, each of a hundredth of a second or one call."""

    def group(count: int) -> float:
        if on_gpu:
            torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(count):
            call()
        if on_gpu:
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / count

    group(1)
    count = max(1, math.ceil(0.01 / max(group(1), 1e-9)))
    return min(group(count) for _ in range(4))


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.products: Counter[Product] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket in PRODUCTS:
            self.products[Product.of(func, args, kwargs)] += 1
        return func(*args, **kwargs)


def products(step: Callable[[], object]) -> Counter[Product]:
    """Return the products of one call, and how often it does each."""
    with _by_definition(), _Recorder() as recorder:
        step()
    return recorder.products


@torch.no_grad()
def measure_floor(step: Callable[[], object], top: int = 12) -> dict[str, Any]:
    """Time a step's products alone.

    Returns:
        ``seconds`` and ``flops`` of all together, how many there are, and the ``top`` costliest with their rates.
    """
    rows = []
    with torch.enable_grad():
        recorded = products(step)
    for product, count in recorded.items():
        seconds = product.seconds()
        rows.append(
            {
                "product": product.name,
                "count": count,
                "seconds": seconds * count,
                "gflops": product.flops / seconds / 1e9,
            }
        )
    rows.sort(key=lambda row: -row["seconds"])
    return {
        "seconds": sum(row["seconds"] for row in rows),
        "flops": sum(product.flops * count for product, count in recorded.items()),
        "products": sum(recorded.values()),
        "costliest": rows[:top],
    }
