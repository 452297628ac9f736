r"""Euler's method for the probability flow (Karras et al. 2022, algorithm 2 without its second half).

In the variables ``x / alpha`` and ``s = sigma / alpha`` the flow of every process is
:math:`d(x / \alpha) / ds = \hat\epsilon(x, s)`. Its Euler step,

.. math:: \frac{x_t}{\alpha_t} = \frac{x_h}{\alpha_h} + (s_t - s_h) \hat\epsilon \quad\Longleftrightarrow\quad
          x_t = \alpha_t \hat x_0 + \sigma_t \hat\epsilon

is DDIM's with eta 0, and in the second form holds from pure noise as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel
from unstir.diffusion.noise_level import Noise


@dataclass(frozen=True)
class Euler:
    """Euler's method (Karras et al. 2022): first order, one evaluation a step."""

    def init(self, x: Tensor, start: NoiseLevel) -> None:
        """Nothing is remembered."""

    def step(
        self, denoise: Denoise, x: Tensor, here: NoiseLevel, there: NoiseLevel, state: None, noise: Noise
    ) -> tuple[Tensor, None]:
        """Move along the predicted noise."""
        prediction = denoise(x, here)
        return there.noise(prediction.x0, prediction.eps), None
