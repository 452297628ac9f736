r"""PLMS: the pseudo linear multistep method (Liu et al. 2022), in its common form.

DDIM's step along a mean of the last four predicted noises, with the coefficients of Adams and Bashforth,

.. math:: \bar\epsilon = \tfrac{1}{24} (55 \hat\epsilon_n - 59 \hat\epsilon_{n+1} + 37 \hat\epsilon_{n+2}
          - 9 \hat\epsilon_{n+3})

and their lower orders while there are fewer. The first step is Heun's, at the cost of one more evaluation. The
coefficients are those of even steps in sigma / alpha, which no grid has, so the order is two, as the paper proves.

Where noise is much, the noise predicted follows x, and over long steps in log(sigma / alpha) Adams and
Bashforth's method is not stable: what a prediction was rounded by grows from step to step, on ``linear(4000)`` by
1e7 and more. From a sigma / alpha above 50, steps that divide it by more than 1.3 therefore take the same mean of
the predicted images, in alpha / sigma (:mod:`unstir.sampling.exponential`), and nothing grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel
from unstir.diffusion.noise_level import Noise
from unstir.sampling.exponential import towards
from unstir.sampling.heun import along, trapezoid

ADAMS_BASHFORTH = {
    2: (-1 / 2, 3 / 2),
    3: (5 / 12, -16 / 12, 23 / 12),
    4: (-9 / 24, 37 / 24, -59 / 24, 55 / 24),
}
"""The weights of the last predictions, the newest at the end."""

NOISY, STEEP = 50.0, 1.3
"""A step from a sigma / alpha above the first, divided by more than the second, is taken in alpha / sigma."""

Memory = tuple[tuple[Tensor, Tensor], ...]
"""The images and the noises predicted in the last steps, the newest at the end."""


@dataclass(frozen=True)
class PLMS:
    """Pseudo linear multistep (Liu et al. 2022): second order, one evaluation a step and one more."""

    def init(self, x: Tensor, start: NoiseLevel) -> Memory:
        """Nothing has been predicted yet."""
        return ()

    def step(
        self, denoise: Denoise, x: Tensor, here: NoiseLevel, there: NoiseLevel, state: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Move along the noise predicted in the last steps, extrapolated over this one."""
        prediction = denoise(x, here)
        state = (*state[-3:], (prediction.x0, prediction.eps))
        if len(state) == 1:
            ahead = there.noise(prediction.x0, prediction.eps)
            return trapezoid(x, prediction, denoise(ahead, there)), state
        if here.sigma > NOISY * here.alpha and here.sigma * there.alpha > STEEP * there.sigma * here.alpha:
            return towards(x, _mean([x0 for x0, _ in state]), here, there), state
        return along(x, _mean([eps for _, eps in state]), here, there), state


def _mean(values: Sequence[Tensor]) -> Tensor:
    """Return the mean over the next step of what was predicted in the last ones, the newest at the end."""
    return sum((w * value for w, value in zip(ADAMS_BASHFORTH[len(values)], values)), torch.zeros_like(values[0]))
