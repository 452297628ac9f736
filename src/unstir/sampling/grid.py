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
``linspace``  n = 1 + round of S even points from T-1 to 0  that of diffusers' DDPM and DDIM, whose
                                                            other solvers end it elsewhere; ADM's ``"S"``
``quadratic`` n = 1 + floor(0.8 T (1 - i / (S - 1))^2),     DDIM's ``quad``
              repeats raised; more steps near the data
``uniform``   t = 1 - i / S, not rounded to the grid
``log_snr``   even in log-SNR from T to 1                   DPM-Solver's ``logSNR``
``karras``    even in (sigma / alpha)^(1/7) from T to 1     Karras et al. 2022, equation 5
============= ============================================= =====================================

T, the noisiest level of ``log_snr`` and ``karras``, is the schedule's own, t = 1. Where that is pure noise
(alpha = 0, as of ``flow``), from which nothing is even, they begin at sigma / alpha = 1000.

Continuous schedules have the last five and, since they have no grid to round to, ``trailing`` equals
``uniform``, ``leading`` starts a step below 1, and n = 1 reads as t_min.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from unstir.diffusion import GridSchedule, NoiseLevel, Schedule
from unstir.diffusion.noise_level import Numbers, as_float64
from unstir.diffusion.schedule import whole_steps
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
    noisiest = float(schedule(1.0).log_snr)
    return noisiest if math.isfinite(noisiest) else -2 * math.log(1000), float(schedule(schedule.t_min).log_snr)


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


def grid(schedule: Schedule, steps: int, spacing: str | Numbers = "trailing") -> list[NoiseLevel]:
    """Return ``steps + 1`` levels from noise to clean data.

    Args:
        schedule: Where the levels lie.
        steps: How many levels with noise there are; at least 1, at most T on a discrete schedule.
        spacing: A name from ``spacings``, or the ``steps`` indices n themselves, falling within 1..T.

    Raises:
        InputError: For steps out of range, an unknown spacing, or indices that are not whole or do not fall.
    """
    steps = whole_steps(steps)
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


def from_sigmas(sigmas: Numbers) -> list[NoiseLevel]:
    """Return levels with ``alpha = 1`` and these sigmas, then clean data: for a denoiser that is told sigma.

    Their times fall evenly from 1 and are no schedule's. One that is told the time of a schedule may be asked at
    these levels through :func:`unstir.diffusion.on_any_schedule`.

    Args:
        sigmas: The standard deviations of the noise, above 0 and falling. A 0 at the end is clean data, which is
            there without it too.

    Raises:
        InputError: If they do not fall to 0.
    """
    noisy = as_float64(sigmas).reshape(-1)
    noisy = noisy[:-1] if len(noisy) and noisy[-1] == 0 else noisy
    rule = "The sigmas of a walk are above 0 and fall"
    if not len(noisy):
        raise InputError(f"{rule}, and there are none")
    _check_fall(rule, noisy, (noisy > 0) & noisy.isfinite())
    times = 1 - torch.arange(len(noisy), dtype=torch.float64) / len(noisy)
    return [*(NoiseLevel(t, torch.ones_like(t), sigma) for t, sigma in zip(times, noisy)), NoiseLevel.clean()]


def _explicit(schedule: Schedule, steps: int, indices: Numbers) -> Tensor:
    if not isinstance(schedule, GridSchedule):
        raise InputError("Explicit indices need a discrete schedule, such as 'linear'")
    n = as_float64(indices).reshape(-1)
    rule = f"The {steps} indices of a grid are whole and fall within {schedule.steps}..1"
    if len(n) != steps:
        raise InputError(f"{rule}, and here are {len(n)}")
    _check_fall(rule, n, (n == n.floor()) & (n >= 1) & (n <= schedule.steps))
    return n / schedule.steps


def _check_fall(rule: str, values: Tensor, right: Tensor) -> None:
    """Refuse values of which one is not right by itself or not less than the one before it."""
    right[1:] &= values[1:] < values[:-1]
    if not bool(right.all()):
        wrong = int(right.int().argmin())
        raise InputError(f"{rule}, and number {wrong + 1} is {values[wrong].item()}")
