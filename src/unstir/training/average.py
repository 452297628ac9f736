r"""The exponential moving average of the weights, from which samples are drawn.

.. math:: \bar\theta_n = d_n \bar\theta_{n-1} + (1 - d_n) \theta_n, \qquad
          d_n = \min\left(d, \frac{1 + n}{10 + n}\right)

for the steps n = 1, 2, ... While the second bound is the smaller, the average spans the last tenth of the
steps so far, so that a short run is averaged as sensibly as a long one.
"""

from __future__ import annotations

import copy

import torch
from torch import nn


def averaged_copy(model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` to hold its average: in evaluation mode and without gradients."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def average_weight(step: int, decay: float) -> float:
    """Return 1 - d_n for step n."""
    return 1 - min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Move ``average`` towards ``model`` after step ``step`` (the first is 1); buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), average_weight(step, decay))
    for averaged, buffer in zip(average.buffers(), model.buffers(), strict=True):
        averaged.copy_(buffer)
