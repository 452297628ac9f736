r"""What a network's output means: noise, clean image, velocity, score, posterior mean, or a mixture.

Each parameterization is a pair of inverse maps at a noise level, ``predict`` (output to ``x0`` and ``eps``)
and ``target`` (the output that a perfect network would give), plus the factor on the network's input.

=========  ======================================================================  =======================
``eps``    the noise                                                               Ho et al. 2020
``x0``     the clean image
``v``      ``alpha eps - sigma x0``                                                Salimans and Ho 2022
``score``  ``-eps / sigma``                                                        Song and Ermon 2019
``mean``   the mean of q(x_{n-1} | x_n, x_0), on discrete schedules only           Ho et al. 2020, eq. 7
``karras`` ``x0 = c_skip x + c_out F(c_in x)``, unit variance in and out           Karras et al. 2022, tab. 1
``dual``   the noise, the clean image, and for each pixel which of them to trust    Benny and Wolf 2022
=========  ======================================================================  =======================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unstir.diffusion.noise_level import NoiseLevel, broadcast
from unstir.diffusion.posterior import posterior
from unstir.diffusion.prediction import Prediction
from unstir.diffusion.schedule import GridSchedule, Schedule
from unstir.errors import InputError


class Parameterization(ABC):
    """The meaning of a network's output ``F``, for images ``x`` (B, ...) at a level."""

    @abstractmethod
    def predict(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Prediction:
        """Return what the output says of the clean image and the noise."""

    @abstractmethod
    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        """Return the output that says exactly ``x0`` and ``eps``: the inverse of ``predict``."""

    def scale_input(self, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return what the network is shown of ``x``."""
        return x


class Eps(Parameterization):
    """The output is the noise."""

    def predict(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Prediction:  # noqa: D102
        return Prediction.from_eps(output, x, level)

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:  # noqa: D102
        return eps


class X0(Parameterization):
    """The output is the clean image."""

    def predict(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Prediction:  # noqa: D102
        return Prediction.from_x0(output, x, level)

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:  # noqa: D102
        return x0


class V(Parameterization):
    """The output is ``v = alpha eps - sigma x0``.

    With ``x = alpha x0 + sigma eps`` it solves to ``x0 = (alpha x - sigma v) / (alpha^2 + sigma^2)`` and
    ``eps = (sigma x + alpha v) / (alpha^2 + sigma^2)``: no division by zero at either end.
    """

    def predict(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Prediction:  # noqa: D102
        alpha, sigma = level.coefficients(x)
        norm = alpha**2 + sigma**2
        return Prediction((alpha * x - sigma * output) / norm, (sigma * x + alpha * output) / norm, level)

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:  # noqa: D102
        return Prediction(x0, eps, level).v


class Score(Parameterization):
    """The output is the score ``-eps / sigma``."""

    def predict(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Prediction:  # noqa: D102
        _, sigma = level.coefficients(x)
        return Prediction.from_eps(-sigma * output, x, level)

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:  # noqa: D102
        return Prediction(x0, eps, level).score


class Mean(Parameterization):
    r"""The output is the posterior mean (Ho et al. 2020, equation 7).

    .. math:: \tilde\mu = \frac{\sqrt{\bar\alpha_{n-1}} \beta_n}{1 - \bar\alpha_n} x_0
              + \frac{\sqrt{\alpha_n} (1 - \bar\alpha_{n-1})}{1 - \bar\alpha_n} x_n

    Args:
        schedule: A discrete schedule: the mean is that of the next level down its grid.
    """

    def __init__(self, schedule: Schedule) -> None:
        if not isinstance(schedule, GridSchedule):
            raise InputError("The parameterization 'mean' needs a discrete schedule, such as 'linear'")
        self.schedule = schedule

    def _coefficients(self, x: Tensor, level: NoiseLevel) -> tuple[Tensor, Tensor]:
        there = self.schedule((level.t - 1 / self.schedule.steps).clamp(min=0))
        of_x0, of_x, _ = posterior(level, there)
        # Clean data has no level below it; as at n = 1, the mean there is the image itself.
        clean = level.sigma == 0
        of_x0, of_x = of_x0.masked_fill(clean, 1), of_x.masked_fill(clean, 0)
        return broadcast(of_x0, x), broadcast(of_x, x)

    def predict(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Prediction:  # noqa: D102
        of_x0, of_x = self._coefficients(x, level)
        return Prediction.from_x0((output - of_x * x) / of_x0, x, level)

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:  # noqa: D102
        of_x0, of_x = self._coefficients(x0, level)
        return of_x0 * x0 + of_x * level.noise(x0, eps)


class Karras(Parameterization):
    r"""Karras et al. 2022, table 1, written for any alpha so that ``alpha = 0`` is no special case.

    With :math:`d^2 = \sigma^2 + \alpha^2 \sigma_{data}^2`, the variance of x:
    ``c_in = 1 / d``, ``c_skip = alpha sigma_data^2 / d^2``, ``c_out = sigma sigma_data / d``.

    Args:
        sigma_data: The standard deviation of the data, for pixels in [-1, 1] about 0.5.
    """

    def __init__(self, sigma_data: float = 0.5) -> None:
        self.sigma_data = sigma_data

    def _parts(self, x: Tensor, level: NoiseLevel) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        alpha, sigma = level.coefficients(x)
        return alpha, sigma, sigma**2 + (alpha * self.sigma_data) ** 2, x.new_tensor(self.sigma_data)

    def scale_input(self, x: Tensor, level: NoiseLevel) -> Tensor:  # noqa: D102
        return x / self._parts(x, level)[2].sqrt()

    def predict(self, output: Tensor, x: Tensor, level: NoiseLevel) -> Prediction:  # noqa: D102
        # eps is solved from both equations by hand, since x - alpha x0 cancels badly where sigma is small:
        # eps = (sigma x - alpha sigma_data d F) / d^2.
        alpha, sigma, variance, data = self._parts(x, level)
        deviation = variance.sqrt()
        x0 = alpha * data**2 / variance * x + sigma * data / deviation * output
        eps = sigma / variance * x - alpha * data / deviation * output
        return Prediction(x0, eps, level)

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:  # noqa: D102
        alpha, sigma, variance, data = self._parts(x0, level)
        return (sigma * x0 / data - alpha * data * eps) / variance.sqrt()


@dataclass(frozen=True, kw_only=True)
class DualPrediction(Prediction):
    """A mixture of two predictions.

    Attributes:
        of_eps: What the predicted noise says.
        of_x0: What the predicted image says.
        gate: The share of ``of_x0``, in (0, 1), shape of ``x0``.
    """

    of_eps: Prediction
    of_x0: Prediction
    gate: Tensor

    @staticmethod
    def mix(of_eps: Prediction, of_x0: Prediction, gate: Tensor) -> DualPrediction:
        """Return the mixture. Of posterior means it is the same one, as these are affine in the image."""
        x0, eps = torch.lerp(of_eps.x0, of_x0.x0, gate), torch.lerp(of_eps.eps, of_x0.eps, gate)
        return DualPrediction(x0, eps, of_x0.level, of_eps=of_eps, of_x0=of_x0, gate=gate)

    def with_parts_stopped(self) -> DualPrediction:
        """Return the same mixture, through which gradients reach the gate alone."""
        of_eps, of_x0 = (replace(p, x0=p.x0.detach(), eps=p.eps.detach()) for p in (self.of_eps, self.of_x0))
        return DualPrediction.mix(of_eps, of_x0, self.gate)


class Dual(Parameterization):
    """The output is the noise, the image and the logit of a gate between them, three images' channels in turn.

    A small error of the noise is a large one of the image where noise is much, and the reverse where it is
    little; the network learns where to switch (Benny and Wolf 2022).
    """

    def predict(self, output: Tensor, x: Tensor, level: NoiseLevel) -> DualPrediction:  # noqa: D102
        eps, x0, logit = output.chunk(3, dim=1)
        of_eps, of_x0 = Prediction.from_eps(eps, x, level), Prediction.from_x0(x0, x, level)
        return DualPrediction.mix(of_eps, of_x0, logit.sigmoid())

    def target(self, x0: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:  # noqa: D102
        return torch.cat([eps, x0, torch.zeros_like(x0)], dim=1)


def parameterization(name: str, schedule: Schedule, sigma_data: float = 0.5) -> Parameterization:
    """Return a parameterization by its name: ``eps``, ``x0``, ``v``, ``score``, ``mean``, ``karras`` or ``dual``.

    Raises:
        InputError: For an unknown name, or ``mean`` on a continuous schedule.
    """
    if name == "mean":
        return Mean(schedule)
    if name == "karras":
        return Karras(sigma_data)
    plain: dict[str, type[Parameterization]] = {"eps": Eps, "x0": X0, "v": V, "score": Score, "dual": Dual}
    if name not in plain:
        known = ", ".join([*plain, "mean", "karras"])
        raise InputError(f"No parameterization is called '{name}'; there are {known}")
    return plain[name]()
