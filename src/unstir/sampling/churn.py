r"""Churn: some fresh noise before a step, which corrects the errors of earlier ones.

After Karras et al. 2022, algorithm 2.
Where ``s = sigma / alpha`` lies in ``[s_tmin, s_tmax]``, it is raised to :math:`\hat s = s (1 + \gamma)` with
:math:`\gamma = \min(S_{churn} / N, \sqrt 2 - 1)`, and the images get noise of the deviation that is missing,
:math:`S_{noise} \sqrt{\hat s^2 - s^2}` in units of ``x / alpha``.

A raised level lies between those of the grid, and a network must be told its exact time, which a time interpolated
between neighbours is not. The schedule knows it, and a solver owns none: so the schedule is an argument of the
churn, which is a sampler around the solver. A denoiser that is told alpha and sigma alone needs none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel, Schedule
from unstir.diffusion.noise_level import Noise, broadcast
from unstir.diffusion.posterior import step_variance
from unstir.errors import InputError
from unstir.sampling.trajectory import Sampler, State


@dataclass(frozen=True)
class Churn:
    """Fresh noise before each step of a sampler but the last, which is the trajectory's.

    Attributes:
        sampler: One that remembers nothing, as Euler and Heun: its steps do not begin where the last one ended.
        schedule: That of the levels, beyond whose noisiest none is raised. None, for a denoiser that is told no
            time, raises sigma alone.
        steps: N, over which the churn is spread.
        s_churn: The sum of all raises, at least 0.
        s_tmin: The least ``sigma / alpha`` at which there is churn.
        s_tmax: The greatest.
        s_noise: The deviation of the fresh noise; a little over 1 makes up for what a network removes too much.
    """

    sampler: Sampler
    schedule: Schedule | None
    steps: int
    s_churn: float
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        if self.s_churn < 0 or self.s_noise < 0 or not 0 <= self.s_tmin <= self.s_tmax:
            raise InputError(
                "Churn and its noise are at least 0, and its range begins at least at 0 and below its end"
            )

    def init(self, x: Tensor, start: NoiseLevel) -> State:
        """Return the sampler's state."""
        return self.sampler.init(x, start)

    def step(
        self, denoise: Denoise, x: Tensor, here: NoiseLevel, there: NoiseLevel, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """Raise the level, and let the sampler step from there."""
        x, here = self.raised(x, here, noise)
        return self.sampler.step(denoise, x, here, there, state, noise)

    def raised(self, x: Tensor, here: NoiseLevel, noise: Noise) -> tuple[Tensor, NoiseLevel]:
        """Return the images (B, ...) at the raised level, and that level."""
        gamma = min(self.s_churn / self.steps, math.sqrt(2) - 1)
        if here.alpha == 0 or gamma == 0 or not self.s_tmin <= here.sigma / here.alpha <= self.s_tmax:
            return x, here
        if self.schedule is None:
            raised = replace(here, sigma=here.sigma * (1 + gamma))
        else:
            raised = self.schedule(self.schedule.time(here.log_snr - 2 * math.log1p(gamma)))
        deviation = self.s_noise * step_variance(raised, here).clamp(min=0).sqrt()
        return broadcast(raised.alpha / here.alpha, x) * x + broadcast(deviation, x) * noise(x), raised
