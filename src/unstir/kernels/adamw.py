r"""AdamW (Loshchilov and Hutter 2019) of scaled gradients, with the weights' average and their bfloat16 copy.

.. math:: g \leftarrow s g, \quad
          m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
          \theta \leftarrow (1 - \eta\lambda)\theta
              - \eta \frac{m / (1 - \beta_1^n)}{\sqrt{v / (1 - \beta_2^n)} + \epsilon}, \quad
          \bar\theta \leftarrow \bar\theta + w (\theta - \bar\theta)

for all parameters together in one pass over memory, where PyTorch makes five, a parameter at a time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from unstir.kernels.library import library

EPSILON = 1e-8
_BLOCK = 8192  # BLOCK of adamw.cpp


class _Options(ctypes.Structure):
    """``struct AdamW``."""

    _fields_ = (
        *((name, ctypes.c_float) for name in ("rate", "first", "second", "epsilon", "decay", "scale", "average")),
        ("first_correction", ctypes.c_float),
        ("second_correction", ctypes.c_float),
    )


def adamw(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    moments: Sequence[tuple[Tensor | None, Tensor | None]],
    averages: Sequence[Tensor],
    copies: Sequence[Tensor | None],
    *,
    step: int,
    rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    decay: float,
    scale: float,
    average: float,
) -> None:
    """Update all but the gradients in place.

    Args:
        parameters: float32.
        gradients: float32 or bfloat16, of the parameters' shapes and strides.
        moments: m and v, float32; None for a parameter that is only to be averaged and copied.
        averages: float32.
        copies: The parameters in bfloat16, or None for those without a copy.
        step: n, from 1.
        rate: The learning rate.
        betas: beta_1 and beta_2.
        decay: The weight decay.
        scale: s, as clipping wants it.
        average: w, how far the average moves towards the parameters.
    """
    kernels = library()
    assert kernels is not None
    count = ctypes.c_int64(len(parameters))
    options = _Options(
        rate, *(1 - beta for beta in betas), EPSILON, decay, scale, average,
        1 - betas[0] ** step, (1 - betas[1] ** step) ** 0.5,
    )  # fmt: skip
    rest = (_pointers(tensors) for tensors in (*zip(*moments, strict=True), averages, copies))
    pointers = _pointers(parameters), _pointers(gradients)
    kernels.adamw(count, _sizes(gradients), *pointers, _are_bfloat16(gradients), *rest, ctypes.byref(options))


def gradient_norm(gradients: Sequence[Tensor]) -> float:
    """Return the norm of all gradients together, float32 or bfloat16."""
    kernels = library()
    assert kernels is not None
    blocks = [-(-gradient.numel() // _BLOCK) for gradient in gradients]
    sums = torch.empty(sum(blocks), dtype=torch.float64)
    offsets = (ctypes.c_int64 * len(blocks))(*[0, *accumulate(blocks)][:-1])
    lists = _sizes(gradients), _pointers(gradients), _are_bfloat16(gradients), offsets
    kernels.block_squares(ctypes.c_int64(len(blocks)), *lists, ctypes.c_void_p(sums.data_ptr()))
    return float(sums.sum()) ** 0.5


def _sizes(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(tensors))(*(tensor.numel() for tensor in tensors))


def _are_bfloat16(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_uint8]:
    return (ctypes.c_uint8 * len(tensors))(*(tensor.dtype == torch.bfloat16 for tensor in tensors))


def _pointers(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(None if t is None else t.data_ptr() for t in tensors))
