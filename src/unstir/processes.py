"""The processes that share one job, as torchrun or accelerate start them: asked for here, and nowhere else."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed
from accelerate import PartialState
from accelerate.utils import gather_object, reduce

Item = TypeVar("Item")


def has_accelerator() -> bool:
    """Whether there is a GPU of any kind."""
    return torch.cuda.is_available() or torch.xpu.is_available() or torch.backends.mps.is_available()


def processes() -> PartialState:
    """Return this process's place among those that share the job; alone without torchrun or accelerate.

    Left to itself, Accelerate joins the processes that torchrun starts only where there are GPUs.
    """
    return PartialState(cpu=not has_accelerator())


@atexit.register
def _leave() -> None:
    """Leave the other processes before the interpreter goes: gloo's threads, if they outlive it, abort it.

    NCCL is left as it is: it would wait for the others, who after an error here may never come.
    """
    group = torch.distributed
    if group.is_available() and group.is_initialized() and group.get_backend() == "gloo":
        gc.collect()  # what was trained may still hold the group
        group.destroy_process_group()


def leave(code: int) -> NoReturn:
    """End this process with an exit code, without the interpreter's own end, which gloo's threads may abort."""
    _leave()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def gathered(value: Any) -> list[Any]:
    """Return what every process gives, in the order of their ranks; all must ask."""
    return gather_object([value]) if processes().num_processes > 1 else [value]


def summed(tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum of what every process gives, on the device of its own; all must ask."""
    return reduce(tensor, "sum") if processes().num_processes > 1 else tensor  # type: ignore[no-any-return]


def rounds(stream: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield, round by round, what the streams of all processes give; all must ask, until all have ended."""
    every = iter(stream)
    while True:
        given = [item for item in gathered(next(every, None)) if item is not None]
        if not given:
            return
        yield given
