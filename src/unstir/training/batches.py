"""What each training step sees, as a pure function of the seed and the step.

Nothing random is remembered between steps: images come from their position in an endless stream, and times,
noise, flips and hidden labels from a generator made anew for each step. So a resumed run needs no random
state to go on exactly, and several processes can each take their share of one batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unstir.data.dataset import ImageData
from unstir.data.order import order
from unstir.diffusion import Condition, GridSchedule, NoiseLevel, Schedule
from unstir.diffusion.times import TimeDistribution


@dataclass(frozen=True)
class Batch:
    """What an objective needs: clean images and noise (B, C, H, W), levels (B,), and the condition."""

    x0: Tensor
    eps: Tensor
    level: NoiseLevel
    condition: Condition | None

    def share(self, rank: int, count: int) -> Batch:
        """Return every ``count``-th image, from ``rank`` on."""
        if count == 1:
            return self
        part = slice(rank, None, count)
        condition = self.condition and Condition(
            vector=None if self.condition.vector is None else self.condition.vector[part],
            hidden=None if self.condition.hidden is None else self.condition.hidden[part],
        )
        return Batch(self.x0[part], self.eps[part], self.level[part], condition)

    def to(self, device: torch.device) -> Batch:
        """Return the batch with its images and labels on ``device``."""
        condition = self.condition
        if condition is not None and condition.vector is not None:
            condition = Condition(vector=condition.vector.to(device), hidden=condition.hidden)
        return Batch(self.x0.to(device), self.eps.to(device), self.level, condition)


def step_seed(seed: int, step: int) -> int:
    """Return a seed for one step of a run, unrelated to those of its neighbours."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def levels_at(schedule: Schedule, t: Tensor) -> NoiseLevel:
    """Return the levels at times (B,); on a discrete schedule the exact grid points nearest to them."""
    if isinstance(schedule, GridSchedule):
        return schedule.level(schedule.index(t))
    return schedule(t)


def training_batch(
    data: ImageData,
    schedule: Schedule,
    times: TimeDistribution,
    *,
    seed: int,
    step: int,
    size: int,
    flip: bool = False,
    conditional: bool = False,
    label_dropout: float = 0.0,
) -> Batch:
    """Return the batch of step ``step`` (the first is 0) of a run.

    Times are stratified: image i's uniform number lies in [i, i + 1) / size, which leaves the loss's mean as
    it is and lowers its variance.
    """
    generator = torch.Generator().manual_seed(step_seed(seed, step))
    indices = order(len(data), seed, step * size, size)
    flips = torch.rand(size, generator=generator).numpy() < 0.5 if flip else None
    x0, labels = data.batch(indices, flips)
    u = (torch.arange(size) + torch.rand(size, generator=generator, dtype=torch.float64)) / size
    eps = torch.randn(x0.shape, generator=generator)
    condition = None
    if conditional and labels is not None:
        condition = Condition(vector=labels).drop(label_dropout, generator)
    return Batch(x0, eps, levels_at(schedule, times(schedule, u)), condition)
