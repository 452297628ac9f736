r"""Inpainting with a model that was never trained for it: known pixels are put back as the walk goes.

The rest of the image is drawn beside known pixels that stand at the walk's own level,

.. math:: x_t \leftarrow m\, x_t + (1 - m) (\alpha_t x_0 + \sigma_t \epsilon), \qquad \epsilon \sim N(0, I)

with m 1 where the image is to be filled in (Song et al. 2021, appendix I.2). It is not the model's conditional:
what is drawn at a level sees known pixels under that level's noise alone, and what was decided before cannot be
taken back. RePaint (Lugmayr et al. 2022) goes back and forth: after some steps towards data it adds their noise
again, and the steps that follow fit what was drawn to what is known. Given enough of it the hidden pixels follow
the conditional.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel, Prediction
from unstir.diffusion.noise_level import Noise
from unstir.errors import InputError
from unstir.sampling.trajectory import Sampler, State

Place = TypeVar("Place")


class Replacement:
    """Any solver, before whose every question to the network known pixels are put in.

    Within a step they carry one noise, so that the solver sees a smooth path; each step draws it anew.

    Args:
        sampler: The solver.
        known: Clean images, shape (B, ...) or (1, ...); where hidden, their values have no effect.
        hidden: Which pixels are to be filled in; bool, of a shape that broadcasts with the images.
        noise: Fresh noise for known pixels. With one of its own, the solver's is as without the constraint, and
            where all is hidden so are the images.
    """

    def __init__(self, sampler: Sampler, known: Tensor, hidden: Tensor, noise: Noise) -> None:
        self.sampler = sampler
        self.known = known
        self.hidden = hidden
        self.noise = noise

    @property
    def takes_drift(self) -> bool:
        """Whether the solver does."""
        return getattr(self.sampler, "takes_drift", False)

    def init(self, x: Tensor, start: NoiseLevel) -> State:
        """Return the solver's own state."""
        return self.sampler.init(x, start)

    def step(
        self, denoise: Denoise, x: Tensor, here: NoiseLevel, there: NoiseLevel, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        """Take the solver's step with known pixels in place; they are so in what is returned too."""
        eps = self.noise(x)

        def held(x: Tensor, level: NoiseLevel) -> Tensor:
            return torch.where(self.hidden, x, level.noise(self.known, eps))

        def constrained(x: Tensor, level: NoiseLevel) -> Prediction:
            return denoise(held(x, level), level)

        x, state = self.sampler.step(constrained, held(x, here), here, there, state, noise)
        return held(x, there), state


def jumps(levels: Sequence[Place], length: int = 10, resamples: int = 10) -> list[Place]:
    """Return the levels with RePaint's jumps back (Lugmayr et al. 2022, appendix B).

    From the last level with noise, and from every ``length``-th before it, the walk goes ``length`` levels back
    towards noise and down again, ``resamples - 1`` times; where there are not so many levels above, it does not.
    Over 250 steps, 10 by 10, these are the paper's 4,571 levels and 2,410 steps towards data.

    Args:
        levels: From noise to data, as :func:`unstir.sampling.grid` gives them, the last one clean.
        length: How many levels a jump goes back, at least 1.
        resamples: How often each stretch is walked, at least 1; with 1 there are no jumps.

    Raises:
        InputError: If one of the two is less than 1.
    """
    for name, value in {"length of a jump": length, "number of resamples": resamples}.items():
        if value < 1:
            raise InputError(f"The {name} is at least 1, not {value}")
    walked: list[Place] = []
    last = len(levels) - 2
    for place, level in enumerate(levels):
        walked.append(level)
        if length <= place <= last and (last - place) % length == 0:
            back = [*levels[place - length : place][::-1], *levels[place - length + 1 : place + 1]]
            walked += back * (resamples - 1)
    return walked


def paste(images: Tensor, known: Tensor, hidden: Tensor) -> Tensor:
    """Return ``images`` with the known pixels exactly; shapes as of :class:`Replacement`."""
    return torch.where(hidden, images, known)
