r"""The exponential moving average of the weights, from which samples are drawn.

.. math:: \bar\theta_n = d_n \bar\theta_{n-1} + (1 - d_n) \theta_n, \qquad
          d_n = \min\left(d, \frac{1 + n}{10 + n}\right)

for the steps n = 1, 2, ... While the second bound is the smaller, the average spans the last tenth of the
steps so far, so that a short run is averaged as sensibly as a long one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def averaged_copy(model: Module) -> Module:
    """Return a copy of ``model`` to hold its average: in evaluation mode and without gradients."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def average_weight(step: int, decay: float) -> float:
    """Return 1 - d_n for step n."""
    return 1 - min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(average: Sequence[Tensor], weights: Sequence[Tensor], step: int, decay: float) -> None:
    """Move ``average`` towards ``weights`` after step ``step`` (the first is 1)."""
    torch._foreach_lerp_(list(average), list(weights), average_weight(step, decay))


@torch.no_grad()
def copy_buffers(average: nn.Module, model: nn.Module) -> None:
    """Copy what a model knows beside its weights, such as batch norm's statistics."""
    for averaged, buffer in zip(average.buffers(), model.buffers(), strict=True):
        averaged.copy_(buffer)
