"""Which number format networks run in, by what the processor is fastest at."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from typing import TypeVar

import torch
from torch import nn

from unstir.kernels.processor import speeds

Module = TypeVar("Module", bound=nn.Module)


def resolve_precision(wanted: str, device: torch.device) -> str:
    """Return ``bf16``, ``fp16`` or ``float32``: for ``auto``, the faster of bf16 and float32.

    On a CPU that is measured: on some, bf16 is the slower one. A CPU takes ``fp16``, which a model trained on a
    GPU may ask for, as ``auto``.
    """
    if wanted != "auto" and not (wanted == "fp16" and device.type == "cpu"):
        return wanted
    if device.type == "cpu":
        speed = speeds()
        return max(speed, key=lambda kind: speed[kind])
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if has_bf16 else "float32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which networks run in ``precision``."""
    types = {"bf16": torch.bfloat16, "fp16": torch.float16}
    if precision not in types:
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, types[precision])


def low_precision_copy(model: Module) -> Module:
    """Return a copy whose convolutions and linear layers hold bfloat16; all else is shared with ``model``.

    Under autocast it computes what ``model`` does, without converting its weights at every call. Its weights are
    ordinary tensors: gradients flow through it, to its inputs as well.
    """
    heavy = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    own = {id(p) for layer in model.modules() if isinstance(layer, heavy) for p in layer.parameters(recurse=False)}
    shared = [tensor for tensor in (*model.parameters(), *model.buffers()) if id(tensor) not in own]
    with torch.inference_mode(False):  # a copy that is kept may be asked for gradients later
        copied = copy.deepcopy(model, {id(tensor): tensor for tensor in shared})
        for layer in copied.modules():
            if isinstance(layer, heavy):
                layer.to(torch.bfloat16)
    return copied
