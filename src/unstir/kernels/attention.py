r"""Dot-product attention for training on a CPU.

.. math:: P = \mathrm{softmax}(Q K^T / \sqrt d), \quad O = P V, \qquad
          dV = P^T dO, \quad dS = P (dP - \sum dP\,P) / \sqrt d, \quad dQ = dS\,K, \quad dK = dS^T Q

with P kept from the forward pass: five large matrix products, which for the few pixels that attention is given
take a quarter of the time of PyTorch's operator, whose gradient computes P again block by block. Where the
gradient is to be differentiated itself, PyTorch computes it.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from unstir.kernels.library import TYPES, library

MOST_PAIRS = 1024**2
"""Beyond so many pairs of a query and a key, the matrix P is not kept."""


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return ``softmax(q k^T / sqrt(d)) v``.

    Args:
        q: Queries (B, heads, N, d).
        k: Keys (B, heads, L, d).
        v: Values (B, heads, L, e); the result is (B, heads, N, e).
    """
    learns = torch.is_grad_enabled() and any(part.requires_grad for part in (q, k, v))
    small = q.shape[-2] * k.shape[-2] <= MOST_PAIRS and min(q.numel(), v.numel()) > 0
    if learns and small and q.device.type == "cpu" and q.dtype in TYPES and library() is not None:
        mixed = _Attention.apply(*(part.flatten(0, 1) for part in (q, k, v)))  # type: ignore[no-untyped-call]
        return mixed.view(*q.shape[:-1], v.shape[-1])  # type: ignore[no-any-return]
    return functional.scaled_dot_product_attention(q, k, v)


def _softmax(name: str, tensors: list[Tensor], width: int) -> None:
    """Call a kernel on (n, rows, columns), in place, for heads of ``width`` channels."""
    rows, columns = tensors[0].shape[:2].numel(), tensors[0].shape[2]
    pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors)
    kernel = getattr(library(), f"softmax_{name}_{TYPES[tensors[0].dtype]}")
    kernel(*pointers, ctypes.c_int64(rows), ctypes.c_int64(columns), ctypes.c_float(width**-0.5))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        p = q @ k.transpose(1, 2)
        _softmax("forward", [p], q.shape[2])
        ctx.save_for_backward(q, k, v, p)
        return p @ v

    @staticmethod
    def backward(ctx: Any, do: Tensor) -> tuple[Tensor, ...]:
        q, k, v, p = ctx.saved_tensors
        if torch.is_grad_enabled():
            # Products and sums of the same, from the inputs that the graph knows: P itself it does not.
            p = (q @ k.transpose(1, 2) * q.shape[2] ** -0.5).softmax(-1)
            dp = do @ v.transpose(1, 2)
            ds = p * (dp - (dp * p).sum(-1, keepdim=True)) * q.shape[2] ** -0.5
            return ds @ k, ds.transpose(1, 2) @ q, p.transpose(1, 2) @ do
        ds = do @ v.transpose(1, 2)
        _softmax("backward", [ds, p], q.shape[2])
        return ds @ k, ds.transpose(1, 2) @ q, p.transpose(1, 2) @ do
