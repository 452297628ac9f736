r"""Langevin dynamics: walking up the score, with noise (Song and Ermon 2019, algorithm 1).

.. math:: x \leftarrow x + \frac{a}{2} \nabla_x \log q(x) + \sqrt{a}\, z

whose stationary distribution is q as the step a goes to 0. Where q has modes with nothing between them, x never
crosses, and each mode keeps the weight that it has at the start. Annealed Langevin dynamics therefore goes down a
ladder of levels, T updates on each, with steps that shrink with the noise:

.. math:: a_i = \epsilon\, \sigma_i^2 / \sigma_{min}^2

Epsilon is given here in units of :math:`\sigma_{min}^2`, so that :math:`a_i = \epsilon \sigma_i^2` and a sampler
need not know where the ladder ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel
from unstir.diffusion.ladder import langevin_epsilon
from unstir.diffusion.noise_level import Noise, broadcast
from unstir.errors import InputError


@torch.no_grad()
def langevin(
    denoise: Denoise, x: Tensor, level: NoiseLevel, step: Tensor | float, updates: int, noise: Noise
) -> Tensor:
    """Return ``x`` (B, ...) after ``updates`` updates at one level.

    Args:
        denoise: Gives the score at ``level``.
        x: Where to start.
        level: Whose density is walked on; data's own where its sigma is small beside the data's detail.
        step: a, above 0, of shape () or (B,).
        updates: How many.
        noise: z.
    """
    step = torch.as_tensor(step)
    for _ in range(updates):
        x = updated(x, denoise(x, level).absorbed().score, step, noise(x))
    return x


def updated(x: Tensor, score: Tensor, step: Tensor, z: Tensor) -> Tensor:
    """Return ``x + step / 2 * score + sqrt(step) * z`` for a step of shape () or (B,)."""
    return x + broadcast(step / 2, x) * score + broadcast(step.sqrt(), x) * z


@dataclass(frozen=True)
class AnnealedLangevin:
    """Annealed Langevin dynamics: updates on each level, the first included.

    Between levels x stays as it is. The trajectory's last step, to clean data, is the final denoising step of Song
    and Ermon 2020; the network is asked ``updates`` times for each level and once more.

    Attributes:
        updates: T, on each level.
        epsilon: The step in units of the smallest variance, above 0; None for what
            :func:`unstir.diffusion.ladder.langevin_epsilon` finds for the two levels of each step.
    """

    updates: int = 5
    epsilon: float | None = None

    def __post_init__(self) -> None:
        if self.updates < 1:
            raise InputError(f"The updates of langevin are at least 1 on each level, not {self.updates}")
        if self.epsilon is not None and not 0 < self.epsilon < 4:
            raise InputError(f"The epsilon of langevin lies between 0 and 4, not at {self.epsilon}")

    def init(self, x: Tensor, start: NoiseLevel) -> bool:
        """Remember that the first level has had no updates."""
        return False

    def step(
        self, denoise: Denoise, x: Tensor, here: NoiseLevel, there: NoiseLevel, state: bool, noise: Noise
    ) -> tuple[Tensor, bool]:
        """Update ``x`` at ``there``; before the first step at ``here`` as well."""
        for level in [there] if state else [here, there]:
            step = self._epsilon(here, there) * level.sigma**2
            x = langevin(denoise, x, level, step, self.updates, noise)
        return x, True

    def _epsilon(self, here: NoiseLevel, there: NoiseLevel) -> float:
        if self.epsilon is not None:
            return self.epsilon
        # Where alpha changes, the noise is to be seen beside the image; pure noise counts as a million times it.
        ratio = math.exp(min(float(there.log_snr - here.log_snr) / 2, math.log(1e6)))
        return langevin_epsilon(ratio, self.updates)
