"""What each training step sees, as a pure function of the seed and the step.

Nothing random is remembered between steps: images come from their position in an endless stream, and all else that
is random from a generator made anew for each step. So a resumed run needs no random state to go on exactly, and
several processes can each take their share of one batch.
"""

from __future__ import annotations

import numpy as np
import torch

from unstir.data.dataset import ImageData
from unstir.data.order import order, passes
from unstir.models.model import Batch, Model


def step_seed(seed: int, step: int) -> int:
    """Return a seed for one step of a run, unrelated to those of its neighbours."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def training_batch(model: Model, data: ImageData, *, seed: int, step: int, size: int, flip: bool = False) -> Batch:
    """Return the batch of step ``step`` (the first is 0) of a run, prepared by its model."""
    generator = torch.Generator().manual_seed(step_seed(seed, step))
    indices = order(len(data), seed, step * size, size)
    flips = torch.rand(size, generator=generator).numpy() < 0.5 if flip else None
    met = passes(len(data), step * size, size)
    return model.prepare(data.examples(indices, flips, model.config.reads, met), generator)
