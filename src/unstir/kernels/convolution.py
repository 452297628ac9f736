r"""3x3 convolutions in float32 on a CPU, by a quarter of the multiplications.

Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2016): 6x6 inputs d and a kernel g give 4x4 outputs

.. math:: Y = A^T \left[ (G g G^T) \odot (B^T d B) \right] A

by 36 products where the definition takes 144; over all tiles and channels each of the 36 is a matrix product. The
gradients are the same chain backwards. In float32 an output is off by some 1e-6 of the largest. Where a gradient
is to be differentiated itself, PyTorch computes it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_input, conv2d_weight

from unstir.kernels.library import library

LANES = 16
LEAST_SIDE = 4

MOST_TILES = 512
"""Rows of the matrices that are made at a time, which take nine times the memory of so many pixels."""


def convolution(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Return the 3x3 convolution of ``x`` (B, I, H, W) with ``kernel`` (O, I, 3, 3), padded by one zero."""
    if suits(x, kernel):
        return _Winograd.apply(x, kernel, bias)  # type: ignore[no-any-return, no-untyped-call]
    return functional.conv2d(x, kernel, bias, padding=1)


def suits(x: Tensor, kernel: Tensor) -> bool:
    """Whether Winograd's way is open: float32 on a CPU, wide enough, the kernels compiled."""
    return (
        x.device.type == "cpu"
        and x.dtype == kernel.dtype == torch.float32
        and not (kernel.shape[0] % LANES or kernel.shape[1] % LANES)
        and min(x.shape[2:]) >= LEAST_SIDE
        and len(x) > 0
        and not torch.is_autocast_enabled("cpu")
        and library() is not None
    )


class _Images(ctypes.Structure):
    """``struct Images``."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("batch", "height", "width", "channels"))

    def __init__(self, like: Tensor) -> None:
        batch, channels, height, width = like.shape
        super().__init__(batch, height, width, channels)

    @property
    def tiles(self) -> int:
        return int(self.batch * -(-self.height // 4) * -(-self.width // 4))


def _call(name: str, *tensors: Tensor | None, sizes: tuple[Any, ...]) -> None:
    pointers = (ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors)
    getattr(library(), f"winograd_{name}")(*pointers, *sizes)


def _image_tiles(name: str, x: Tensor) -> Tensor:
    """Return the 36 matrices (36, tiles, C) of images (B, C, H, W)."""
    images = _Images(x)
    tiles = x.new_empty(36, images.tiles, x.shape[1])
    _call(name, x, tiles, sizes=(ctypes.byref(images),))
    return tiles


def _kernel_tiles(kernel: Tensor) -> Tensor:
    """Return the 36 matrices (36, O, I) of a kernel (O, I, 3, 3)."""
    outputs, inputs = kernel.shape[:2]
    tiles = kernel.new_empty(36, outputs, inputs)
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    _call("kernel", kernel, tiles, sizes=(ctypes.c_int64(outputs), ctypes.c_int64(inputs)))
    return tiles


def _parts(x: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the images (B, C, H, W) by so many that no matrix has more than ``MOST_TILES`` rows, or by one."""
    count = max(1, MOST_TILES // _Images(x[:1]).tiles)
    return zip(*(tensor.split(count) for tensor in (x, *others)), strict=True)


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, kernel)
        x = x.contiguous(memory_format=torch.channels_last)
        batch, _, height, width = x.shape
        y = x.new_empty(batch, height, width, len(kernel)).permute(0, 3, 1, 2)
        bias = None if bias is None else bias.detach().contiguous()
        kernel_tiles = _kernel_tiles(kernel).mT
        for xs, ys in _parts(x, y):
            products = _image_tiles("input", xs) @ kernel_tiles
            _call("output", products, bias, ys, sizes=(ctypes.byref(_Images(ys)),))
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, kernel = ctx.saved_tensors
        dbias = dy.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        if torch.is_grad_enabled():
            dx = conv2d_input(x.shape, kernel, dy, padding=1) if ctx.needs_input_grad[0] else None
            dkernel = conv2d_weight(x, kernel.shape, dy, padding=1) if ctx.needs_input_grad[1] else None
            return dx, dkernel, dbias
        x = x.contiguous(memory_format=torch.channels_last)
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        dkernel = torch.empty_like(kernel, memory_format=torch.channels_last) if ctx.needs_input_grad[1] else None
        kernel_tiles = None if dx is None else _kernel_tiles(kernel)
        sums = None if dkernel is None else x.new_zeros(36, *kernel.shape[:2])
        for xs, dys, dxs in _parts(x, dy, x if dx is None else dx):
            gradients = _image_tiles("output_gradient", dys)
            if sums is not None:
                sums.baddbmm_(gradients.mT, _image_tiles("input", xs))
            if kernel_tiles is not None:
                _call("input_gradient", gradients @ kernel_tiles, dxs, sizes=(ctypes.byref(_Images(dxs)),))
        if dkernel is not None:
            sizes = tuple(ctypes.c_int64(size) for size in kernel.shape[:2])
            _call("kernel_gradient", sums, dkernel, sizes=sizes)
        return dx, dkernel, dbias
