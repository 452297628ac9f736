"""The processes that share one job, as torchrun or accelerate start them: asked for here, and nowhere else."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object


def has_accelerator() -> bool:
    """Whether there is a GPU of any kind."""
    return torch.cuda.is_available() or torch.xpu.is_available() or torch.backends.mps.is_available()


def processes() -> PartialState:
    """Return this process's place among those that share the job; alone without torchrun or accelerate.

    Left to itself, Accelerate joins the processes that torchrun starts only where there are GPUs.
    """
    return PartialState(cpu=not has_accelerator())


def gathered(value: Any) -> list[Any]:
    """Return what every process gives, in the order of their ranks; all must ask."""
    return gather_object([value]) if processes().num_processes > 1 else [value]
