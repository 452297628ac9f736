"""How fast this processor is, measured on what networks spend their time on: 3x3 convolutions.

The best of each number format is kept in the cache folder, with whether the machine was ever quiet meanwhile, that
is whether the threads had the processor to themselves: until then it is measured again. What counts is the
definition's arithmetic, however few operations a kernel may take.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import functional

from unstir.cache import cache_folder
from unstir.errors import InputError
from unstir.files import read_text, whole_file
from unstir.kernels.convolution import convolution
from unstir.kernels.library import library, processor

BATCH, CHANNELS, SIDE = 8, 192, 16

QUIET = 0.8
"""Of the threads' time, what the processor spends on them if nothing else runs."""

_LIMIT = Path("/sys/fs/cgroup/cpu.max")

Speeds = dict[str, float]
"""GFLOP/s, forward and backward, by number format: ``float32``, and ``bf16`` where there is any."""


class Measure(NamedTuple):
    """Speeds, and whether nothing else ran when they were measured."""

    speeds: Speeds
    quiet: bool


@cache
def speeds() -> Speeds:
    """Return how fast each number format is, which takes half a second until it was measured in quiet.

    While the machine is busy it stays what was kept, so that two runs compute in the same format.
    """
    kept = _kept()
    if kept and kept.quiet:
        return kept.speeds
    now = _measured()
    return kept.speeds if kept and not now.quiet else _keep(now, kept).speeds


@cache
def top_speed() -> tuple[float, bool]:
    """Return the GFLOP/s of the fastest format, and whether to rely on that: half a second each time.

    It is measured now, since what was kept may come from a busy moment or another setting of the machine; the
    better of the two counts.
    """
    best = _keep(_measured(), _kept())
    return max(best.speeds.values()), best.quiet


def _place() -> Path:
    about = f"{torch.__version__} {torch.get_num_threads()} {library() is not None}".encode()
    return cache_folder() / f"processor-{hashlib.sha256(processor() + about).hexdigest()[:24]}.json"


def _kept() -> Measure | None:
    """Return what was measured before; None if nothing was, or it cannot be read."""
    try:
        found = dict(json.loads(read_text(_place())))
        quiet = found.pop("quiet")
    except (InputError, KeyError, ValueError, TypeError, RecursionError):
        return None
    good = all(type(speed) is float and math.isfinite(speed) and speed > 0 for speed in found.values())
    return Measure(found, quiet) if good and type(quiet) is bool and found.keys() == _formats().keys() else None


def _keep(now: Measure, kept: Measure | None) -> Measure:
    """Keep and return the better of two measures: a busy machine is slower, and never faster."""
    if kept:
        fastest = {name: max(speed, kept.speeds[name]) for name, speed in now.speeds.items()}
        now = Measure(fastest, now.quiet or kept.quiet)
    with suppress(InputError), whole_file(_place()) as partial:  # there may be no folder to keep it in
        partial.write_text(json.dumps(now.speeds | {"quiet": now.quiet}))
    return now


def _formats() -> dict[str, torch.dtype]:
    bf16 = {"bf16": torch.bfloat16} if torch.ops.mkldnn._is_mkldnn_bf16_supported() else {}
    return {"float32": torch.float32} | bf16


def _measured() -> Measure:
    """Measure the formats in turn, so that what else runs meets all."""
    found, share = dict.fromkeys(_formats(), 0.0), 0.0
    for _ in range(6):
        for name, kind in _formats().items():
            speed, ran = _measure(kind)
            found[name], share = max(found[name], speed), max(share, ran)
    return Measure(found, share > QUIET)


@torch.inference_mode(False)  # gradients count, also for callers that want none
def _measure(kind: torch.dtype) -> tuple[float, float]:
    """Return the GFLOP/s of a convolution, and of the threads' time the part that they ran in."""
    shape, kernel = (BATCH, CHANNELS, SIDE, SIDE), (CHANNELS, CHANNELS, 3, 3)
    x, w = (
        torch.full(sizes, 0.01, dtype=kind).contiguous(memory_format=torch.channels_last).requires_grad_()
        for sizes in (shape, kernel)
    )
    convolve = convolution if kind == torch.float32 else functional.conv2d
    began, ran = time.perf_counter(), time.process_time()
    convolve(x, w, None).sum().backward()
    seconds, ran = time.perf_counter() - began, time.process_time() - ran
    threads = min(torch.get_num_threads(), _quota())
    return 3 * 2 * BATCH * SIDE**2 * w.numel() / seconds / 1e9, ran / seconds / threads


def _quota() -> float:
    """Return how many processors a container may use."""
    try:
        quota, period = _LIMIT.read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # there is no limit
        return math.inf
