r"""Ancestral sampling (Ho et al. 2020, algorithm 2), on any subset of steps.

.. math:: x_{t-1} = \tilde\mu(x_t, \hat x_0) + \sigma_t z

with :math:`\tilde\mu` the mean of the posterior q(x_{t-1} | x_t, x_0) (equation 7), which is the paper's
:math:`\frac{1}{\sqrt{\alpha_t}} (x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}} \hat\epsilon)`. On a subset the
chain is the respaced one, :math:`\beta = 1 - \bar\alpha_t / \bar\alpha_s`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel
from unstir.diffusion.noise_level import broadcast
from unstir.diffusion.posterior import posterior, step_variance
from unstir.errors import InputError
from unstir.sampling.trajectory import Noise


@dataclass(frozen=True)
class DDPM:
    """The ancestral sampler (Ho et al. 2020), with fresh noise: first order, one evaluation a step.

    Attributes:
        variance: ``small``, the posterior's (beta tilde), right for data that is a single point; or
            ``large``, beta itself, right for data that is standard normal.
    """

    variance: Literal["small", "large"] = "small"

    def __post_init__(self) -> None:
        if self.variance not in ("small", "large"):
            raise InputError(f"The variance of ddpm is 'small' or 'large', not '{self.variance}'")

    def init(self, x: Tensor, start: NoiseLevel) -> None:
        """Nothing is remembered."""

    def step(
        self, denoise: Denoise, x: Tensor, here: NoiseLevel, there: NoiseLevel, state: None, noise: Noise
    ) -> tuple[Tensor, None]:
        """Draw x at ``there`` given ``x`` at ``here`` and its predicted clean image."""
        of_x0, of_x, small = posterior(here, there)
        variance = small if self.variance == "small" else step_variance(here, there)
        mean = broadcast(of_x0, x) * denoise(x, here).x0 + broadcast(of_x, x) * x
        return mean + broadcast(variance.sqrt(), x) * noise(x), None
