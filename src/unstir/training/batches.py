"""What each training step sees, as a pure function of the seed and the step.

Nothing random is remembered between steps: images come from their position in an endless stream, and all else that
is random from a generator made anew for each step. So a resumed run needs no random state to go on exactly, and
several processes can each take their share of one batch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unstir.data.dataset import ImageData
from unstir.data.order import order, passes
from unstir.models.model import Batch, Model
from unstir.training.codes import Coded
from unstir.training.config import Config


def step_seed(seed: int, step: int) -> int:
    """Return a seed for one step of a run, unrelated to those of its neighbours."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def training_batch(
    model: Model, data: ImageData | Coded, *, seed: int, step: int, size: int, flip: bool = False
) -> Batch:
    """Return the batch of step ``step`` (the first is 0) of a run, prepared by its model."""
    generator = _generator(seed, step)
    indices, flips, met = _seen(len(data), generator, seed, step, size, flip)
    return model.prepare(data.examples(indices, flips, model.config.reads, met), generator)


def first_images(config: Config, data: ImageData, count: int) -> Tensor:
    """Return the images that a run sees first, as its network sees them: float32 (count, C, H, W) in [-1, 1].

    Args:
        config: The run's, which has seen its data.
        data: Its training images.
        count: How many.
    """
    size, images = config.training.batch, []
    for step in range(-(-count // size)):
        seen = _seen(len(data), _generator(config.seed, step), config.seed, step, size, config.data.flip)
        indices, flips, met = (None if row is None else row[: count - step * size] for row in seen)
        images.append(data.examples(indices, flips, config.model.reads, met)[0])
    return torch.cat(images)


def _generator(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(step_seed(seed, step))


def _seen(
    images: int, generator: torch.Generator, seed: int, step: int, size: int, flip: bool
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Return which images a step sees, which of them are mirrored, and in which pass each is met."""
    flips = torch.rand(size, generator=generator).numpy() < 0.5 if flip else None
    return order(images, seed, step * size, size), flips, passes(images, step * size, size)
