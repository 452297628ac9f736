r"""Time distributions: at which levels training looks.

Each maps independent uniform numbers to times, ``(schedule, u) -> t``. ``importance`` also remembers losses, and
weights each image's loss by what makes up for how often its time is drawn:

.. math:: L = E_{t \sim p}\left[\frac{L_t}{T p_t}\right], \qquad p_t \propto \sqrt{E[L_t^2]}

has the least variance of all p, and whatever p is, the mean over uniform times (Nichol and Dhariwal 2021,
section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unstir.diffusion.schedule import GridSchedule, Schedule

TimeDistribution = Callable[[Schedule, Tensor], Tensor]
"""A map from independent uniform numbers in [0, 1), shape (B,), to times of the schedule, shape (B,)."""


def stratified(count: int, generator: torch.Generator) -> Tensor:
    """Return float64 numbers (B,) uniform in [0, 1), the i-th in [i, i + 1) / B.

    A mean over them has the value that it has over independent ones, and less variance.
    """
    return (torch.arange(count) + torch.rand(count, generator=generator, dtype=torch.float64)) / count


def uniform(schedule: Schedule, u: Tensor) -> Tensor:
    """Times evenly over the schedule: each grid point n = 1..T, or [t_min, 1] where time is continuous."""
    if isinstance(schedule, GridSchedule):
        return (u.double() * schedule.steps).floor().add(1) / schedule.steps
    return schedule.t_min + u.double() * (1 - schedule.t_min)


def log_normal(schedule: Schedule, u: Tensor, mean: float = -1.2, std: float = 1.2) -> Tensor:
    """Karras et al. 2022: ``log(sigma / alpha)`` is normal; cut at the ends of the schedule."""
    log_ratio = mean + std * torch.special.ndtri(u.double().clamp(1e-6, 1 - 1e-6))
    return schedule.time(-2 * log_ratio).clamp(min=schedule.t_min)


time_distributions: dict[str, TimeDistribution] = {"uniform": uniform, "log_normal": log_normal}


class Importance:
    """Levels by the second moment of the last losses seen there; uniform until each has seen ``MEMORY`` of them.

    Args:
        steps: T of the discrete schedule.

    Attributes:
        losses: The last losses of each level, in no order, float64 of shape (T, ``MEMORY``).
        counts: How many losses each level has seen, int64 of shape (T,).
    """

    MEMORY = 10
    UNIFORM = 0.001
    """The share of uniform draws, by which no level is forgotten."""

    def __init__(self, steps: int) -> None:
        self.losses = torch.zeros(steps, self.MEMORY, dtype=torch.float64)
        self.counts = torch.zeros(steps, dtype=torch.int64)

    @property
    def probabilities(self) -> Tensor:
        """How likely each level n = 1..T is drawn, float64 of shape (T,)."""
        moment = self.losses.square().mean(1).sqrt()
        even = torch.full_like(moment, 1 / len(moment))
        if bool((self.counts < self.MEMORY).any()) or not bool(moment.sum() > 0):
            return even
        return torch.lerp(moment / moment.sum(), even, self.UNIFORM)

    def __call__(self, schedule: Schedule, u: Tensor) -> Tensor:
        """Return the times of grid points that u falls on, by the inverse of their distribution function."""
        edges = self.probabilities.cumsum(0)[:-1].contiguous()
        return (torch.searchsorted(edges, u.double(), right=True) + 1).double() / len(self.counts)

    def weight(self, t: Tensor) -> Tensor:
        """Return 1 / (T p), shape of ``t``: its mean over drawn times is 1."""
        return 1 / (len(self.counts) * self.probabilities[self._index(t)])

    def record(self, t: Tensor, losses: Tensor) -> None:
        """Remember the losses (B,) seen at times (B,)."""
        memory, counts = self.losses.numpy(), self.counts.numpy()
        for index, loss in zip(self._index(t).tolist(), losses.tolist(), strict=True):
            memory[index, counts[index] % self.MEMORY] = loss
            counts[index] += 1

    def _index(self, t: Tensor) -> Tensor:
        return (t * len(self.counts)).round().long() - 1
