r"""Objectives and time distributions: what training minimizes, and at which levels it looks.

An objective is a pure function ``(denoiser, x0, level, eps, condition) -> loss per image``. The ones here are
weighted squared errors. Since errors of the same prediction in different spaces differ by a factor that
depends on the level only, ``|eps - eps'|^2 = SNR |x0 - x0'|^2``, each is one weighting of another
(Kingma and Gao 2023); it is written in the space in which its weight is finite at every trained level.

=============== ======= =================================== ===========================================
name            space   weight                              paper
=============== ======= =================================== ===========================================
``simple``      eps     1: more weight on large noise than  Ho et al. 2020, equation 14
                        the variational bound gives
``x0``          x0      1                                   Salimans and Ho 2022
``v``           v       1                                   Salimans and Ho 2022
``min_snr``     eps     min(1, gamma / SNR)                 Hang et al. 2023
``karras``      x0      SNR + 1 / sigma_data^2              Karras et al. 2022, table 1
=============== ======= =================================== ===========================================

A time distribution is a pure function ``(schedule, u) -> t`` that maps uniform numbers to times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from unstir.diffusion.condition import Condition
from unstir.diffusion.corruption import Corruption, gaussian
from unstir.diffusion.denoiser import Denoiser
from unstir.diffusion.noise_level import NoiseLevel
from unstir.diffusion.prediction import Prediction
from unstir.diffusion.schedule import GridSchedule, Schedule

Weight = Callable[[NoiseLevel], Tensor]
"""A factor on the squared error, shape () or (B,), as a function of the level."""

TimeDistribution = Callable[[Schedule, Tensor], Tensor]
"""A map from independent uniform numbers in [0, 1), shape (B,), to times of the schedule, shape (B,)."""


class Objective(Protocol):
    """A loss as a pure function."""

    def __call__(
        self, denoiser: Denoiser, x0: Tensor, level: NoiseLevel, eps: Tensor, condition: Condition | None
    ) -> Tensor:
        """Return the loss of each image, shape (B,), for clean ``x0`` and noise ``eps`` (B, C, H, W)."""
        ...


def one(level: NoiseLevel) -> Tensor:
    """The weight 1."""
    return torch.ones_like(level.t)


@dataclass(frozen=True)
class SquaredError:
    """The mean squared error of the prediction in one space, times a weight of the level.

    Attributes:
        space: ``eps``, ``x0`` or ``v``: which of the prediction's values is compared.
        weight: A function of the level.
        corrupt: How the image is corrupted; where not by Gaussian noise, only ``x0`` has a meaning.
    """

    space: Literal["eps", "x0", "v"] = "eps"
    weight: Weight = one
    corrupt: Corruption = gaussian

    def __call__(
        self, denoiser: Denoiser, x0: Tensor, level: NoiseLevel, eps: Tensor, condition: Condition | None
    ) -> Tensor:
        """Return the loss of each image, shape (B,)."""
        prediction = denoiser(self.corrupt(x0, level, eps), level, condition)
        truth = Prediction(x0, eps, level)
        error: Tensor = getattr(prediction, self.space) - getattr(truth, self.space)
        return self.weight(level).to(error) * (error**2).flatten(1).mean(1)


def simple() -> SquaredError:
    """Ho et al. 2020, equation 14: the error of the noise, unweighted."""
    return SquaredError("eps")


def min_snr(gamma: float = 5.0) -> SquaredError:
    """Hang et al. 2023: ``min(SNR, gamma)`` on the error of x0, which is ``min(1, gamma / SNR)`` on eps."""
    return SquaredError("eps", lambda level: (gamma / level.snr).clamp(max=1))


def karras(sigma_data: float = 0.5) -> SquaredError:
    """Karras et al. 2022: the weight under which every level has loss 1 for an untrained Karras network."""
    return SquaredError("x0", lambda level: level.snr + 1 / sigma_data**2)


objectives: dict[str, Callable[[], SquaredError]] = {
    "simple": simple,
    "x0": lambda: SquaredError("x0"),
    "v": lambda: SquaredError("v"),
    "min_snr": min_snr,
    "karras": karras,
}


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
