"""What a run will take, before it is started: parameters, memory, and images a second measured on real steps.

Training's state is float32: weights, their average, gradients and AdamW's two moments, 20 bytes a parameter.
What the forward pass keeps for the backward one is counted in two small steps and grows in proportion to the
batch, beside a part that does not: the weights' copies in the precision of the arithmetic.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from unstir.data.dataset import ImageData, Splits
from unstir.kernels.library import library
from unstir.models.config import ModelConfig
from unstir.models.model import Model
from unstir.processes import processes
from unstir.training.config import Config
from unstir.training.learner import Learner, arithmetic

STATE_BYTES = 20
"""Of weights, average, gradient and two moments, for each parameter."""

PROBES = (2, 4)
"""The batches of the first two steps, which measure memory; the batch that is timed grows from there."""


@dataclass(frozen=True)
class Estimate:
    """What training takes.

    Attributes:
        state_bytes: Weights, average, gradients and moments.
        activation_bytes: What the forward pass keeps, at the run's batch.
        images_per_second: As measured, over all processes.
        measured_batch: The batch it was measured at; smaller than the run's where that would take long.
    """

    state_bytes: int
    activation_bytes: int
    images_per_second: float
    measured_batch: int


def parameter_count(config: ModelConfig, parts: Mapping[str, Model] = MappingProxyType({})) -> int:
    """Return how many parameters a model has that has seen its data, without making them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in config.build(parts).parameters())


def machine(config: Config) -> tuple[str, str]:
    """Return where a run is trained, such as ``2 CPU threads``, and its number format."""
    device = processes().device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    if device.type == "cpu":
        threads = torch.get_num_threads()
        name = f"{threads} CPU thread{'' if threads == 1 else 's'}"
        name += " without compiled kernels" if library() is None else ""
    count = processes().num_processes
    return f"{count} x {name}" if count > 1 else name, arithmetic(config, device)


def synthetic(shape: tuple[int, int, int], classes: int, count: int = 64) -> Splits:
    """Return noise in the place of images (C, H, W), labelled if there are classes: as quick to train on."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, *shape), dtype=np.uint8)
    labels = random.integers(0, classes, count) if classes else None
    data = ImageData.from_array(pixels, labels, [str(i) for i in range(classes)], name="noise")
    return Splits(data, data)


def few(splits: Splits, count: int = 64) -> Splits:
    """Return the first images of a set that lack no text, as quick to train on as all."""
    train = splits.train
    texts = [column.values for column in train.columns.values() if column.kind == "text"]
    whole = [i for i in range(len(train)) if all(values[i] for values in texts)]
    rows = np.array((whole or [*range(len(train))])[:count])
    columns = {name: column.take(rows) for name, column in train.columns.items()}
    data = ImageData.from_array(train.pixels[rows], name=train.name, columns=columns)
    return Splits(data, data).degraded(train.degradations).augmented(train.augment or 0.0)


def estimate(
    config: Config,
    splits: Splits,
    parts: Mapping[str, Model] = MappingProxyType({}),
    patience: float = 4.0,
) -> Estimate:
    """Measure what training takes by doing a few steps of it.

    Args:
        config: The run's configuration, which has seen its data.
        splits: Its images, or :func:`synthetic` ones of their shape.
        parts: The frozen models that its model uses.
        patience: About how many seconds of steps to time. The batch is cut so that a step takes half of it.
    """
    learner = Learner(config, splits, parts)
    saved = [_saved_bytes(learner, batch) for batch in PROBES]
    growth = (saved[1] - saved[0]) / (PROBES[1] - PROBES[0])
    constant = saved[0] - growth * PROBES[0]
    whole = config.training.batch
    batch, seconds = min(PROBES[-1], whole), _timed_step(learner, PROBES[-1])
    while batch < whole and 4 * seconds < patience / 2:
        try:
            seconds = _timed_step(learner, min(whole, 4 * batch))
        except torch.OutOfMemoryError:  # of a GPU; that the run's own batch does not fit, its memory says
            learner.wrapped.zero_grad()
            break
        batch = min(whole, 4 * batch)
    began, times = time.monotonic(), [_timed_step(learner, batch)]
    while time.monotonic() - began < patience and len(times) < 50:
        times.append(_timed_step(learner, batch))
    return Estimate(
        state_bytes=STATE_BYTES * sum(parameter.numel() for parameter in learner.model.parameters()),
        activation_bytes=int(constant + growth * whole),
        images_per_second=batch / float(np.median(times)),
        measured_batch=batch,
    )


def _timed_step(learner: Learner, batch: int) -> float:
    """Take one step on ``batch`` images and return its seconds."""
    training = learner.config.training.model_copy(update={"batch": batch})
    learner.config = learner.config.model_copy(update={"training": training})
    began = time.monotonic()
    float(next(iter(learner.step(0.0).values())))  # waits for the device
    return time.monotonic() - began


def _saved_bytes(learner: Learner, batch: int) -> int:
    """Take one step and return the bytes of what its forward pass keeps, beside the weights themselves."""
    networks = (learner.model, learner.wrapped)
    own = {p.untyped_storage().data_ptr() for network in networks for p in network.parameters()}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _timed_step(learner, batch)
    return sum(sizes.values())
