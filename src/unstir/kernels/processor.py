"""How fast this processor is, measured once on what networks spend their time on: 3x3 convolutions."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from functools import cache

import torch
from torch.nn import functional

from unstir.cache import cache_folder
from unstir.errors import InputError
from unstir.kernels.convolution import convolution
from unstir.kernels.library import library, processor

BATCH, CHANNELS, SIDE = 8, 192, 16


@cache
def speeds() -> dict[str, float]:
    """Return GFLOP/s, forward and backward, by number format: ``float32``, and ``bf16`` where there is any.

    What counts is the definition's arithmetic, however few operations a kernel may take. The first call of a
    processor takes half a second; its answer is then kept in the cache folder.
    """
    about = f"{torch.__version__} {torch.get_num_threads()} {library() is not None}".encode()
    name = f"processor-{hashlib.sha256(processor() + about).hexdigest()[:24]}.json"
    with suppress(OSError, ValueError):  # none yet, or a damaged one
        return dict(json.loads((cache_folder() / name).read_text()))
    kinds = {"float32": torch.float32}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        kinds["bf16"] = torch.bfloat16
    found = {key: _measure(kind) for key, kind in kinds.items()}
    with suppress(OSError, InputError):  # no folder to keep it in
        cache_folder().mkdir(parents=True, exist_ok=True)
        (cache_folder() / name).write_text(json.dumps(found))
    return found


@torch.inference_mode(False)  # gradients count, also for callers that want none
def _measure(kind: torch.dtype) -> float:
    """Return the GFLOP/s of the fastest of five convolutions."""
    shape, kernel = (BATCH, CHANNELS, SIDE, SIDE), (CHANNELS, CHANNELS, 3, 3)
    x, w = (
        torch.full(sizes, 0.01, dtype=kind).contiguous(memory_format=torch.channels_last).requires_grad_()
        for sizes in (shape, kernel)
    )
    convolve = convolution if kind == torch.float32 else functional.conv2d
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        convolve(x, w, None).sum().backward()
        seconds.append(time.perf_counter() - began)
    return 3 * 2 * BATCH * SIDE**2 * w.numel() / min(seconds[1:]) / 1e9
