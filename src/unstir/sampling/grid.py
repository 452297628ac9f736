r"""Grids: which levels a sampler visits.

Each spacing is a pure function from a schedule and a number of steps to that many times, falling from the
noisiest; ``grid`` turns them into levels and ends them with clean data, so that a first-order solver asks
the network exactly ``steps`` times. On a discrete schedule of T levels, with ``S = steps``:

============= ============================================= =====================================
spacing       levels, i = 0..S-1                            the peer's name for it
============= ============================================= =====================================
``trailing``  n = round(T - i T / S): starts at T, ends at  diffusers ``trailing``
              round(T / S)
``leading``   n = 1 + (S - 1 - i) (T // S): ends at 1,      diffusers ``leading``, DDIM's
              starts below T                                ``uniform``
``linspace``  n = 1 + round of S even points from T-1 to 0  diffusers ``linspace``, ADM's ``"S"``
``quadratic`` n = 1 + floor(0.8 T (1 - i / (S - 1))^2),     DDIM's ``quad``
              repeats raised; more steps near the data
``uniform``   t = 1 - i / S, not rounded to the grid
``log_snr``   even in log-SNR from T to 1                   DPM-Solver's ``logSNR``
``karras``    even in (sigma / alpha)^(1/7) from T to 1     Karras et al. 2022, equation 5
============= ============================================= =====================================

Continuous schedules have the last five and, since they have no grid to round to, ``trailing`` equals
``uniform``, ``leading`` starts a step below 1, and n = 1 reads as t_min.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unstir.diffusion import GridSchedule, NoiseLevel, Schedule
from unstir.errors import InputError, nearest


def _trailing(schedule: Schedule, steps: int) -> Tensor:
    if isinstance(schedule, GridSchedule):
        i = torch.arange(steps, dtype=torch.float64)
        return (schedule.steps - i * schedule.steps / steps).round() / schedule.steps
    return _uniform(schedule, steps)


def _leading(schedule: Schedule, steps: int) -> Tensor:
    falling = torch.arange(steps - 1, -1, -1, dtype=torch.float64)
    if isinstance(schedule, GridSchedule):
        return (falling * (schedule.steps // steps) + 1) / schedule.steps
    return schedule.t_min + falling / steps * (1 - schedule.t_min)


def _linspace(schedule: Schedule, steps: int) -> Tensor:
    if isinstance(schedule, GridSchedule):
        last, i = schedule.steps - 1, torch.arange(steps, dtype=torch.float64)
        return (1 + (last - i * last / max(steps - 1, 1)).round()) / schedule.steps
    return torch.linspace(1, schedule.t_min, steps, dtype=torch.float64)


def _quadratic(schedule: Schedule, steps: int) -> Tensor:
    curve = 0.8 * torch.linspace(1, 0, steps, dtype=torch.float64) ** 2
    if isinstance(schedule, GridSchedule):
        return _distinct(1 + (curve * schedule.steps).floor(), schedule.steps) / schedule.steps
    return schedule.t_min + curve * (1 - schedule.t_min)


def _uniform(schedule: Schedule, steps: int) -> Tensor:
    return 1 - torch.arange(steps, dtype=torch.float64) / steps


def _log_snr(schedule: Schedule, steps: int) -> Tensor:
    first, last = _end_log_snrs(schedule)
    return schedule.time(torch.linspace(first, last, steps, dtype=torch.float64))


def _karras(schedule: Schedule, steps: int) -> Tensor:
    first, last = (math.exp(-end / 14) for end in _end_log_snrs(schedule))
    roots = torch.linspace(first, last, steps, dtype=torch.float64)
    return schedule.time(-14 * roots.log())


def _end_log_snrs(schedule: Schedule) -> tuple[float, float]:
    # Pure noise has no finite log-SNR: there the grid starts at that of sigma / alpha = 1000.
    noisiest = max(float(schedule(1.0).log_snr), -13.8)
    return noisiest, float(schedule(schedule.t_min).log_snr)


def _distinct(n: Tensor, last: int) -> Tensor:
    """Return falling indices within 1..last made distinct, by raising those that repeat the one after them."""
    offset = torch.arange(len(n), dtype=n.dtype)
    rising = (n.flip(0) - offset).cummax(0).values + offset
    return torch.minimum(rising, last - offset.flip(0)).flip(0)


spacings: dict[str, Callable[[Schedule, int], Tensor]] = {
    "trailing": _trailing,
    "leading": _leading,
    "linspace": _linspace,
    "quadratic": _quadratic,
    "uniform": _uniform,
    "log_snr": _log_snr,
    "karras": _karras,
}


def grid(schedule: Schedule, steps: int, spacing: str | Sequence[int] = "trailing") -> list[NoiseLevel]:
    """Return ``steps + 1`` levels from noise to clean data.

    Args:
        schedule: Where the levels lie.
        steps: How many levels with noise there are; at least 1, at most T on a discrete schedule.
        spacing: A name from ``spacings``, or the ``steps`` indices n themselves, falling within 1..T.

    Raises:
        InputError: For steps out of range, an unknown spacing, or indices that do not fall.
    """
    if steps < 1:
        raise InputError(f"Sampling needs at least 1 step, and {steps} were asked for")
    if isinstance(schedule, GridSchedule) and steps > schedule.steps:
        raise InputError(f"{steps} steps were asked for, and the model's schedule has {schedule.steps}")
    if isinstance(spacing, str):
        if spacing not in spacings:
            known = ", ".join(spacings)
            raise InputError(f"No spacing is called '{spacing}'{nearest(spacing, list(spacings))} ({known})")
        times = spacings[spacing](schedule, steps)
    else:
        times = _explicit(schedule, steps, spacing)
    return [*(schedule(t) for t in times), NoiseLevel.clean()]


def _explicit(schedule: Schedule, steps: int, indices: Sequence[int]) -> Tensor:
    if not isinstance(schedule, GridSchedule):
        raise InputError("Explicit indices need a discrete schedule, such as 'linear'")
    n = torch.tensor(list(indices), dtype=torch.float64)
    falling = bool((n[1:] < n[:-1]).all())
    if len(n) != steps or not falling or int(n.max()) > schedule.steps or int(n.min()) < 1:
        raise InputError(f"The {steps} indices of a grid must fall within {schedule.steps}..1: {list(indices)}")
    return n / schedule.steps
