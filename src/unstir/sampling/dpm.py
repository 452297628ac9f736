r"""DPM-Solver++ (Lu et al. 2022b), multistep, for the flow (2M, 3M) and for the reverse process with fresh noise.

Each step is that of :mod:`unstir.sampling.exponential` on the polynomial through the last one, two or three
predicted images. With fresh noise the old noise keeps what DDIM keeps of it, so that the first order is DDIM for
every eta.

The start of 3M: its first step has one prediction only, and an error of h^2 that would stay. So the second step
corrects it first, by the trapezoidal rule with the prediction that it has just asked for: the network is asked
once a step and no more. 2M needs no such start. From exactly no signal (alpha = 0) the first prediction lies
infinitely far off in lambda and drops out: there the second step, too, is of first order.

Other packages' multistep 3M halves the second difference, which leaves it of second order. Here its coefficient
is that of the integral.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel
from unstir.diffusion.noise_level import Noise, broadcast
from unstir.errors import InputError
from unstir.sampling.ddim import split_noise
from unstir.sampling.exponential import Point, mean_image, towards


class Memory(NamedTuple):
    """What the last step leaves behind.

    Attributes:
        x: The images it began from, corrected where the solver corrects.
        points: The last predictions, the newest at the end.
    """

    x: Tensor
    points: tuple[Point, ...] = ()


@dataclass(frozen=True)
class DPMSolver:
    """DPM-Solver++ of first, second or third order.

    Attributes:
        order: How many predictions a step draws on.
        eta: As DDIM's: 0 is the flow, 1 the reverse process, of second order at most.
    """

    order: Literal[1, 2, 3] = 2
    eta: float = 0.0

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise InputError(f"The order of DPM-Solver++ is 1, 2 or 3, not {self.order}")
        if not 0 <= self.eta <= 1 or (self.eta > 0 and self.order == 3):
            raise InputError(
                f"The eta of DPM-Solver++ lies between 0 and 1, and is 0 for the third order, not {self.eta}"
            )

    def init(self, x: Tensor, start: NoiseLevel) -> Memory:
        """Nothing is known yet."""
        return Memory(x)

    def step(
        self, denoise: Denoise, x: Tensor, here: NoiseLevel, there: NoiseLevel, state: Memory, noise: Noise
    ) -> tuple[Tensor, Memory]:
        """Move towards the mean of the predicted image, extrapolated over the step."""
        newest = (here, denoise(x, here).x0)
        if self.order == 3 and len(state.points) == 1:
            ((before, _),) = state.points
            x = towards(state.x, mean_image([*state.points, newest], before, here), before, here)
        points = (*state.points, newest)[-self.order :]
        kept, fresh = split_noise(here, there, self.eta)
        moved = towards(x, mean_image(points, here, there), here, there, kept)
        if self.eta > 0:
            moved = moved + broadcast(fresh, x) * noise(x)
        return moved, Memory(x, points)
