r"""Ancestral sampling (Ho et al. 2020, algorithm 2), on any subset of steps.

.. math:: x_{t-1} = \tilde\mu(x_t, \hat x_0) + \sigma_t z

with :math:`\tilde\mu` the mean of the posterior q(x_{t-1} | x_t, x_0) (equation 7), which is the paper's
:math:`\frac{1}{\sqrt{\alpha_t}} (x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}} \hat\epsilon)`. On a subset the
chain is the respaced one, :math:`\beta = 1 - \bar\alpha_t / \bar\alpha_s`.

Under a classifier's guidance the mean moves by :math:`\sigma_t^2 g`, with g the drift of the prediction and the
variance that the step draws with (Dhariwal and Nichol 2021, algorithm 1); the last step draws nothing, and moves
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel
from unstir.diffusion.noise_level import Noise, broadcast
from unstir.diffusion.posterior import Variance, log_variance, posterior
from unstir.errors import InputError


@dataclass(frozen=True)
class DDPM:
    """The ancestral sampler (Ho et al. 2020), with fresh noise: first order, one evaluation a step.

    Attributes:
        variance: ``small``, the posterior's (beta tilde), right for data that is a single point;
            ``large``, beta itself, right for data that is standard normal; or ``learned``, between the two as
            the network says for each pixel (Nichol and Dhariwal 2021).
    """

    takes_drift: ClassVar[bool] = True
    variance: Variance = "small"

    def __post_init__(self) -> None:
        if self.variance not in get_args(Variance):
            raise InputError(f"The variance of ddpm is 'small', 'large' or 'learned', not '{self.variance}'")

    def init(self, x: Tensor, start: NoiseLevel) -> None:
        """Nothing is remembered."""

    def step(
        self, denoise: Denoise, x: Tensor, here: NoiseLevel, there: NoiseLevel, state: None, noise: Noise
    ) -> tuple[Tensor, None]:
        """Draw x at ``there`` given ``x`` at ``here`` and its predicted clean image."""
        of_x0, of_x, _ = posterior(here, there)
        prediction = denoise(x, here)
        if self.variance == "learned" and prediction.variance is None:
            raise InputError("The variance 'learned' needs a model that predicts it, and this one does not")
        mean = broadcast(of_x0, x) * prediction.x0 + broadcast(of_x, x) * x
        log_spread = log_variance(prediction, there, self.variance)
        if prediction.drift is not None:
            guided = broadcast(here.alpha > 0, x)  # pure noise says nothing of the class
            mean = mean + guided * log_spread.exp() * prediction.drift
        return mean + (0.5 * log_spread).exp() * noise(x), None
