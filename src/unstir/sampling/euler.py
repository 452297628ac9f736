r"""Euler's method for the probability flow (Karras et al. 2022, algorithm 2 without its second half).

In the variables ``x / alpha`` and ``s = sigma / alpha`` the flow of every process is
:math:`d(x / \alpha) / ds = \hat\epsilon(x, s)`. Its Euler step,

.. math:: \frac{x_t}{\alpha_t} = \frac{x_h}{\alpha_h} + (s_t - s_h) \hat\epsilon \quad\Longleftrightarrow\quad
          x_t = \alpha_t \hat x_0 + \sigma_t \hat\epsilon

is DDIM's with eta 0, and in the second form holds from pure noise as well. What Euler adds is churn.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel
from unstir.sampling.churn import Churn
from unstir.sampling.trajectory import Noise


@dataclass(frozen=True)
class Euler:
    """Euler's method (Karras et al. 2022), with churn: first order, one evaluation a step.

    Attributes:
        churn: Fresh noise before each step but the last, which is the trajectory's; None for none.
    """

    churn: Churn | None = None

    def init(self, x: Tensor, start: NoiseLevel) -> None:
        """Nothing is remembered."""

    def step(
        self, denoise: Denoise, x: Tensor, here: NoiseLevel, there: NoiseLevel, state: None, noise: Noise
    ) -> tuple[Tensor, None]:
        """Raise the level if asked, and move along the predicted noise."""
        if self.churn is not None:
            x, here = self.churn(x, here, noise)
        prediction = denoise(x, here)
        return there.noise(prediction.x0, prediction.eps), None
