"""Which number format networks run in, by what the processor has."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def resolve_precision(wanted: str, device: torch.device) -> str:
    """Return ``bf16``, ``fp16`` or ``float32``: for ``auto``, bf16 where the device computes in it.

    A CPU takes ``fp16``, which a model trained on a GPU may ask for, as ``auto``.
    """
    if wanted != "auto" and not (wanted == "fp16" and device.type == "cpu"):
        return wanted
    if device.type == "cpu":
        has_bf16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    else:
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if has_bf16 else "float32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which networks run in ``precision``."""
    types = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(device.type, types[precision]) if precision in types else nullcontext()
