r"""Group and layer norm with what follows them in a residual block, as one operator.

.. math:: y = \mathrm{dropout}(\mathrm{silu}(g \hat x + s)), \qquad
          \hat x = (x - \mu) / \sqrt{\sigma^2 + \epsilon}

with the mean and variance over a group's channels and all pixels of an image (Wu and He 2018), or over the
channels of one pixel. On a CPU, PyTorch's operators for these take ten times as long as one pass over memory does.
Where a gradient is to be differentiated itself, those compute it.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from unstir.kernels.library import TYPES, library

EPSILON = 1e-5


def norm(
    x: Tensor, gain: Tensor, shift: Tensor, groups: int, *, silu: bool = False, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return ``dropout(silu(gain * x_hat + shift))``, of the shape and type of ``x`` (B, C, H, W), and ``x``.

    What goes around the norm should use the ``x`` that is returned: the two gradients are then added in one pass.

    Args:
        x: The images.
        gain: (C,), or (B, C) where it differs between the images.
        shift: Of the shape of ``gain``.
        groups: How many groups the channels make; 0 to normalize each pixel by itself.
        silu: Whether SiLU follows.
        dropout: The probability of dropping an element after SiLU; drawn from PyTorch's generator.
    """
    has_kernel = x.device.type == "cpu" and x.dtype in TYPES and x.numel() and library() is not None
    if has_kernel and (silu or not dropout) and dropout < 0.999:
        return _Norm.apply(x, gain, shift, groups, silu, dropout)  # type: ignore[no-any-return]
    return composed(x, gain, shift, groups, silu, dropout), x


def composed(x: Tensor, gain: Tensor, shift: Tensor, groups: int, silu: bool, dropout: float) -> Tensor:
    """Return what ``norm`` does, by PyTorch's operators."""
    weight, bias = (gain, shift) if gain.dim() == 1 else (None, None)
    if groups:
        h = functional.group_norm(x, groups, weight, bias, EPSILON)
    else:
        h = functional.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], weight, bias, EPSILON).permute(0, 3, 1, 2)
    if gain.dim() == 2:
        gain, shift = (part[..., None, None].to(h.dtype) for part in (gain, shift))
        h = torch.addcmul(shift, h, gain)
    if silu:
        h = functional.silu(h)
    return functional.dropout(h, dropout).to(x.dtype) if dropout else h.to(x.dtype)


class _Options(ctypes.Structure):
    """``struct Norm``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "pixels", "channels", "groups")),
        ("epsilon", ctypes.c_float),
        *((name, ctypes.c_uint32) for name in ("silu", "seed", "threshold")),
        ("scale", ctypes.c_float),
    )


def _call(name: str, kind: torch.dtype, tensors: list[Tensor | None], options: _Options) -> None:
    pointers = (ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors)
    getattr(library(), f"norm_{name}_{TYPES[kind]}")(*pointers, ctypes.byref(options))


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, groups: int, silu: bool, dropout: float
    ) -> tuple[Tensor, Tensor]:
        batch, channels, height, width = x.shape
        inputs = x, gain, shift
        x = x.contiguous(memory_format=torch.channels_last)
        gain, shift = (part.float().expand(batch, channels).contiguous() for part in (gain, shift))
        seed = int(torch.randint(2**32, ())) if dropout else 0
        options = _Options(
            batch, height * width, channels, groups, EPSILON, silu, seed, round(dropout * 2**32), 1 / (1 - dropout)
        )
        y = torch.empty_like(x)
        mean, rstd = x.new_empty(2, batch, channels if groups else height * width, dtype=torch.float32)
        _call("forward", x.dtype, [x, y, mean, rstd, gain, shift], options)
        ctx.save_for_backward(*inputs, mean, rstd)
        ctx.options = options
        ctx.set_materialize_grads(False)
        return y, x.view_as(x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, around: Tensor | None) -> tuple[Tensor | None, ...]:
        x, gain, shift, mean, rstd = ctx.saved_tensors
        if dy is None:
            return around, None, None, None, None, None
        if torch.is_grad_enabled():
            return *_differentiable(ctx, x, gain, shift, dy, around), None, None, None
        shape = gain.shape
        x = x.contiguous(memory_format=torch.channels_last)
        gain, shift = (part.float().expand(x.shape[:2]).contiguous() for part in (gain, shift))
        dy, around = (
            None if part is None else part.to(x.dtype).contiguous(memory_format=torch.channels_last)
            for part in (dy, around)
        )
        dx, dgain, dshift = torch.empty_like(x), torch.empty_like(gain), torch.empty_like(shift)
        _call("backward", x.dtype, [dy, around, x, mean, rstd, gain, shift, dx, dgain, dshift], ctx.options)
        if len(shape) == 1:
            dgain, dshift = dgain.sum(0), dshift.sum(0)
        return dx, dgain, dshift, None, None, None


def _differentiable(
    ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, dy: Tensor, around: Tensor | None
) -> list[Tensor | None]:
    """Return the gradients of x, gain and shift as functions of all that they depend on."""
    if ctx.options.threshold:
        raise RuntimeError("what dropped out cannot be differentiated twice: set dropout to 0")
    needed = [part for part, needs in zip((x, gain, shift), ctx.needs_input_grad, strict=False) if needs]
    wide = (part.float() for part in (x, gain, shift))
    y = composed(*wide, ctx.options.groups, bool(ctx.options.silu), 0.0)
    made = iter(torch.autograd.grad(y, needed, dy.float(), create_graph=True))
    dx, dgain, dshift = (next(made) if needs else None for needs in ctx.needs_input_grad[:3])
    return [dx if around is None or dx is None else dx + around, dgain, dshift]
