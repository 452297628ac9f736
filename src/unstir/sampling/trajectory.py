r"""The walk from noise to images: one loop for every solver.

A sampler takes one step between two levels; it owns no schedule and keeps no hidden memory. The trajectory
hands it the levels, and makes two kinds of step itself: to clean data, where the answer is the predicted image,
and back into more noise, which needs no model,

.. math:: x_t = \frac{\alpha_t}{\alpha_h} x_h
          + \sqrt{\sigma_t^2 - \left(\tfrac{\alpha_t}{\alpha_h}\right)^2 \sigma_h^2}\, z

A grid may therefore go back and forth, and a solver sees its falling parts alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel, Prediction
from unstir.diffusion.noise_level import Noise, broadcast, walk_ratios
from unstir.diffusion.posterior import step_variance
from unstir.errors import InputError

State = Any
"""What a solver remembers from step to step; None for those that remember nothing."""


class Sampler(Protocol):
    """A solver: the rule for one step.

    One that moves by a prediction's drift itself has an attribute ``takes_drift``, true; for the others the
    trajectory takes it into the prediction.
    """

    def init(self, x: Tensor, start: NoiseLevel) -> State:
        """Return the state before the first step, for noised images ``x`` (B, ...) at level ``start``."""
        ...

    def step(
        self, denoise: Denoise, x: Tensor, here: NoiseLevel, there: NoiseLevel, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """Move ``x`` from level ``here`` to the cleaner ``there``; return it with the new state."""
        ...


@dataclass(frozen=True)
class Step:
    """Where a trajectory stands after a step.

    Attributes:
        index: 1 after the first step.
        x: The images, at ``level``.
        level: The level just reached.
        prediction: The last one that was asked for, by a step towards data: what is believed of the clean images.
    """

    index: int
    x: Tensor
    level: NoiseLevel
    prediction: Prediction


@torch.no_grad()
def trajectory(
    denoise: Denoise, x: Tensor, levels: Sequence[NoiseLevel], sampler: Sampler, noise: Noise
) -> Iterator[Step]:
    """Walk ``x`` along ``levels``, yielding after each step.

    Args:
        denoise: Any callable ``(x, level) -> Prediction``.
        x: Noised images at ``levels[0]``, shape (B, ...).
        levels: From noise to data, as :func:`unstir.sampling.grid` gives them. Where they rise on the way, the
            noise that is missing is added, and the solver begins anew.
        sampler: The solver.
        noise: Fresh noise, for rises and for the solvers that want it.

    Yields:
        One step for each pair of neighbouring levels; the last one's ``x`` is the answer.

    Raises:
        InputError: If there are fewer than two levels, the first two do not fall, or neighbours are the same.
    """
    if len(levels) < 2:
        raise InputError(f"A trajectory needs at least two levels, and got {len(levels)}")
    ratios = walk_ratios(levels)
    if ratios[1] > ratios[0]:
        raise InputError(
            f"A trajectory begins with a step towards data, and sigma / alpha rises here from {ratios[0]:g} to "
            f"{ratios[1]:g}"
        )
    seen: list[Prediction] = []
    takes_drift = getattr(sampler, "takes_drift", False)

    def watched(x: Tensor, level: NoiseLevel) -> Prediction:
        prediction = denoise(x, level)
        seen[:] = [prediction if takes_drift else prediction.absorbed()]
        return seen[0]

    state = sampler.init(x, levels[0])
    for index, (here, there) in enumerate(pairwise(levels), start=1):
        if ratios[index] == 0:
            x = watched(x, here).x0
        elif ratios[index] > ratios[index - 1]:
            added = broadcast(step_variance(there, here).sqrt(), x) * noise(x)
            x = broadcast(there.alpha / here.alpha, x) * x + added
            state = sampler.init(x, there)
        else:
            x, state = sampler.step(watched, x, here, there, state, noise)
        yield Step(index, x, there, seen[0])


def sample(denoise: Denoise, x: Tensor, levels: Sequence[NoiseLevel], sampler: Sampler, noise: Noise) -> Tensor:
    """Return the images at the end of the trajectory; the arguments are those of :func:`trajectory`."""
    for step in trajectory(denoise, x, levels, sampler, noise):
        x = step.x
    return x
