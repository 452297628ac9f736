r"""UniPC (Zhao et al. 2023): a step is corrected by the prediction made at its end, which the next needs too.

In its form that predicts the image, with B_2(h) = e^h - 1, its predictor of order p is the multistep DPM-Solver++
of :mod:`unstir.sampling.dpm`. Its corrector takes the same step again with one more point on the polynomial, the
prediction at the predicted image. That prediction is not asked for again once the image is corrected, so the
network is asked once a step.

The corrector makes the first step one of second order, which enters once: the whole is of third order. With p = 3
it comes near to fourth where the first step's error is small beside the others', as it is from much noise. From
exactly no signal (alpha = 0) the order is lowered as in DPM-Solver++.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel
from unstir.diffusion.noise_level import Noise
from unstir.errors import InputError
from unstir.sampling.dpm import Memory
from unstir.sampling.exponential import mean_image, towards


@dataclass(frozen=True)
class UniPC:
    """UniPC (Zhao et al. 2023), predictor and corrector: third order, one evaluation a step.

    Attributes:
        order: How many predictions the predictor draws on; the corrector takes one more.
    """

    order: Literal[2, 3] = 3

    def __post_init__(self) -> None:
        if self.order not in (2, 3):
            raise InputError(f"The order of unipc is 2 or 3, not {self.order}")

    def init(self, x: Tensor, start: NoiseLevel) -> Memory:
        """Nothing is known yet."""
        return Memory(x)

    def step(
        self, denoise: Denoise, x: Tensor, here: NoiseLevel, there: NoiseLevel, state: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Correct the step that led here, then predict the next."""
        points = (*state.points, (here, denoise(x, here).x0))
        if state.points:
            before, _ = state.points[-1]
            x = towards(state.x, mean_image(points, before, here), before, here)
        points = points[-self.order :]
        return towards(x, mean_image(points, here, there), here, there), Memory(x, points)
