r"""PLMS: the pseudo linear multistep method (Liu et al. 2022), in its common form.

DDIM's step along a mean of the last four predicted noises, with the coefficients of Adams and Bashforth,

.. math:: \bar\epsilon = \tfrac{1}{24} (55 \hat\epsilon_n - 59 \hat\epsilon_{n+1} + 37 \hat\epsilon_{n+2}
          - 9 \hat\epsilon_{n+3})

and their lower orders while there are fewer. The first step is Heun's, at the cost of one more evaluation. The
coefficients are those of even steps in sigma / alpha, which no grid has, so the order is two, as the paper proves.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel
from unstir.diffusion.noise_level import Noise
from unstir.sampling.heun import along, trapezoid

ADAMS_BASHFORTH = {
    2: (-1 / 2, 3 / 2),
    3: (5 / 12, -16 / 12, 23 / 12),
    4: (-9 / 24, 37 / 24, -59 / 24, 55 / 24),
}
"""The weights of the last predictions, the newest at the end."""


@dataclass(frozen=True)
class PLMS:
    """Pseudo linear multistep (Liu et al. 2022): second order, one evaluation a step and one more."""

    def init(self, x: Tensor, start: NoiseLevel) -> tuple[Tensor, ...]:
        """No noise has been predicted yet."""
        return ()

    def step(
        self,
        denoise: Denoise,
        x: Tensor,
        here: NoiseLevel,
        there: NoiseLevel,
        state: tuple[Tensor, ...],
        noise: Noise,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Move along the noise predicted in the last steps, extrapolated over this one."""
        prediction = denoise(x, here)
        state = (*state[-3:], prediction.eps)
        if len(state) == 1:
            ahead = there.noise(prediction.x0, prediction.eps)
            return trapezoid(x, prediction, denoise(ahead, there)), state
        weights = ADAMS_BASHFORTH[len(state)]
        mean = sum((w * eps for w, eps in zip(weights, state)), prediction.eps * 0)
        return along(x, mean, here, there), state
