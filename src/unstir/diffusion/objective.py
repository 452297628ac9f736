r"""Objectives: what training minimizes.

An objective is a pure function ``(denoiser, x0, level, eps, condition) -> loss per image``. Most are weighted
squared errors. Since errors of the same prediction in different spaces differ by a factor that depends on the
level only, ``|eps - eps'|^2 = SNR |x0 - x0'|^2 = sigma^2 |s - s'|^2``, each is one weighting of another (Kingma
and Gao 2023); it is written in the space in which its weight is finite at every trained level.

================== ======= ======================================= ======================================
name               space   weight                                  paper
================== ======= ======================================= ======================================
``simple``         eps     1: more weight on large noise than the  Ho et al. 2020, equation 14
                           variational bound gives
``x0``             x0      1                                       Salimans and Ho 2022
``v``              v       1                                       Salimans and Ho 2022
``min_snr``        eps     min(1, gamma / SNR)                     Hang et al. 2023
``p2``             eps     1 / (k + SNR)^gamma                     Choi et al. 2022
``karras``         x0      SNR + 1 / sigma_data^2                  Karras et al. 2022, table 1
``score_matching`` score   lambda / 2, lambda = sigma^2            Song and Ermon 2019, equations 5 and 6
``variational``    x0      a^2 / (2 s^2) for the posterior's mean  Ho et al. 2020, equation 8
                           a x0 + b x, s^2 the model's variance
================== ======= ======================================= ======================================

The others are made of several parts:

=========== =============================================================== ================================
``bound``   the whole variational bound, :mod:`unstir.diffusion.bound`      Sohl-Dickstein et al. 2015
``hybrid``  simple + 0.001 bound, which there reaches the variance alone    Nichol and Dhariwal 2021, eq. 16
``dual``    the error of the noise, of the image, and of their mixture      Benny and Wolf 2022
=========== =============================================================== ================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from unstir.diffusion.bound import bound_term, prior_term, smallest_variance
from unstir.diffusion.condition import Condition
from unstir.diffusion.corruption import Corruption, gaussian
from unstir.diffusion.denoiser import Denoiser
from unstir.diffusion.noise_level import NoiseLevel
from unstir.diffusion.parameterization import DualPrediction
from unstir.diffusion.posterior import Variance, posterior, step_variance
from unstir.diffusion.prediction import Prediction
from unstir.diffusion.schedule import GridSchedule, Schedule
from unstir.errors import InputError

Weight = Callable[[NoiseLevel], Tensor]
"""A factor on the squared error, shape () or (B,), as a function of the level."""


class Objective(ABC):
    """A loss as a pure function of a prediction and the truth."""

    corrupt: Corruption = staticmethod(gaussian)

    def __call__(
        self, denoiser: Denoiser, x0: Tensor, level: NoiseLevel, eps: Tensor, condition: Condition | None
    ) -> Tensor:
        """Return the loss of each image, shape (B,), for clean ``x0`` and noise ``eps`` (B, C, H, W)."""
        return self.of(denoiser(self.corrupt(x0, level, eps), level, condition), x0, eps)

    @abstractmethod
    def of(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Tensor:
        """Return the loss of each image's prediction, shape (B,)."""


def one(level: NoiseLevel) -> Tensor:
    """The weight 1."""
    return torch.ones_like(level.t)


@dataclass(frozen=True)
class SquaredError(Objective):
    """The mean squared error of the prediction in one space, times a weight of the level.

    Attributes:
        space: ``eps``, ``x0``, ``v`` or ``score``: which of the prediction's values is compared.
        weight: A function of the level.
        corrupt: How the image is corrupted; where not by Gaussian noise, only ``x0`` has a meaning.
    """

    space: Literal["eps", "x0", "v", "score"] = "eps"
    weight: Weight = one
    corrupt: Corruption = gaussian

    def of(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Tensor:  # noqa: D102
        level = prediction.level
        truth = Prediction(x0, eps, level)
        error: Tensor = getattr(prediction, self.space) - getattr(truth, self.space)
        return self.weight(level).to(error) * (error**2).flatten(1).mean(1)


def simple() -> SquaredError:
    """Ho et al. 2020, equation 14: the error of the noise, unweighted."""
    return SquaredError("eps")


def min_snr(gamma: float = 5.0) -> SquaredError:
    """Hang et al. 2023: ``min(SNR, gamma)`` on the error of x0, which is ``min(1, gamma / SNR)`` on eps."""
    return SquaredError("eps", lambda level: (gamma / level.snr).clamp(max=1))


def p2(k: float = 1.0, gamma: float = 1.0) -> SquaredError:
    """Choi et al. 2022, equation 8: less weight where noise is little and only fine detail is learned."""
    return SquaredError("eps", lambda level: (k + level.snr) ** -gamma)


def karras(sigma_data: float = 0.5) -> SquaredError:
    """Karras et al. 2022: the weight under which every level has loss 1 for an untrained Karras network."""
    return SquaredError("x0", lambda level: level.snr + 1 / sigma_data**2)


def score_matching(weight: Weight = lambda level: level.sigma**2) -> SquaredError:
    """Denoising score matching, ``lambda(sigma) / 2 |s + eps / sigma|^2`` (Vincent 2011; Song and Ermon 2019).

    Args:
        weight: lambda; sigma squared makes the levels' losses alike in size.
    """
    return SquaredError("score", lambda level: weight(level) / 2)


objectives: dict[str, Callable[[], SquaredError]] = {
    "simple": simple,
    "x0": lambda: SquaredError("x0"),
    "v": lambda: SquaredError("v"),
    "min_snr": min_snr,
    "p2": p2,
    "karras": karras,
    "score_matching": score_matching,
}
"""The weighted errors that stand by themselves; :func:`objective` knows the others too."""


def variational(schedule: GridSchedule, variance: Variance) -> SquaredError:
    """The terms of the bound under a fixed variance, in nats for each dimension, but for constants.

    Args:
        schedule: Whose neighbouring levels make the steps.
        variance: ``small`` or ``large``.
    """

    def weight(level: NoiseLevel) -> Tensor:
        chain, n = _chain(schedule), schedule.index(level.t)
        there = chain[n - 1]
        of_x0, _, small = posterior(level, there)
        small = torch.where(small > 0, small, smallest_variance(chain))
        return of_x0**2 / (2 * (small if variance == "small" else step_variance(level, there)))

    return SquaredError("x0", weight)


@dataclass(frozen=True)
class Bound(Objective):
    """The variational bound in bits for each dimension, estimated for each image at its one level.

    It is the prior's term plus T times that of the level, so its mean over uniform levels is the whole bound.

    Attributes:
        schedule: Whose neighbouring levels make the steps; gradients reach its betas where they are learned.
        variance: Of the model's steps.
    """

    schedule: GridSchedule
    variance: Variance

    def of(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Tensor:  # noqa: D102
        chain = _chain(self.schedule)
        there = chain[self.schedule.index(prediction.level.t) - 1]
        term = bound_term(prediction, x0, there, self.variance, smallest_variance(chain))
        return prior_term(x0, chain[-1]) + self.schedule.steps * term


@dataclass(frozen=True)
class Hybrid(Objective):
    """The simple error teaches the mean; a small part of the bound, the mean stopped in it, the variance.

    Attributes:
        bound: With a learned variance.
        share: Of the bound.
    """

    bound: Bound
    share: float = 0.001

    def of(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Tensor:  # noqa: D102
        stopped = replace(prediction, x0=prediction.x0.detach(), eps=prediction.eps.detach())
        return simple().of(prediction, x0, eps) + self.share * self.bound.of(stopped, x0, eps)


class Dual(Objective):
    """For the parameterization ``dual``: each part learns by its own error, the gate by the mixture's.

    Benny and Wolf 2022 take the mixture's error in the posterior mean. Here it is in the image times
    min(SNR, 1), which differs by a factor of the level alone, is bounded at both ends and needs no grid.
    """

    def of(self, prediction: Prediction, x0: Tensor, eps: Tensor) -> Tensor:  # noqa: D102
        assert isinstance(prediction, DualPrediction)
        of_eps = SquaredError("eps").of(prediction.of_eps, x0, eps)
        of_x0 = SquaredError("x0").of(prediction.of_x0, x0, eps)
        return of_eps + of_x0 + min_snr(1.0).of(prediction.with_parts_stopped(), x0, eps)


def objective(name: str, schedule: Schedule, variance: Variance = "small", sigma_data: float = 0.5) -> Objective:
    """Return an objective by its name.

    Args:
        name: One of ``objectives``, or ``variational``, ``bound``, ``hybrid`` or ``dual``.
        schedule: That of training; discrete for those of the bound.
        variance: Of the model's steps in the bound.
        sigma_data: The standard deviation of the data, for ``karras``.

    Raises:
        InputError: For an unknown name, or one of the bound on a continuous schedule.
    """
    if name in ("variational", "bound", "hybrid"):
        if not isinstance(schedule, GridSchedule):
            raise InputError(f"The objective '{name}' needs a discrete schedule, such as 'linear'")
        if name == "variational":
            return variational(schedule, variance)
        bound = Bound(schedule, variance)
        return bound if name == "bound" else Hybrid(bound)
    if name == "dual":
        return Dual()
    if name not in objectives:
        known = ", ".join([*objectives, "variational", "bound", "hybrid", "dual"])
        raise InputError(f"No objective is called '{name}'; there are {known}")
    return karras(sigma_data) if name == "karras" else objectives[name]()


def _chain(schedule: GridSchedule) -> NoiseLevel:
    """Return all levels n = 0..T, shape (T + 1,)."""
    return schedule.level(torch.arange(schedule.steps + 1))
