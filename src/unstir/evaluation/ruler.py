"""The ruler of a labelled set: a classifier of its clean images, trained once and kept in the cache.

It is trained as any model is, on the set's own training images, in a minute or two on two CPU cores, and kept
under the fingerprint of those images. Training runs in the format that the machine is fastest in, so two machines'
rulers differ a little; images are read in float32 everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from unstir.cache import cache_folder
from unstir.data.config import DataConfig
from unstir.errors import InputError
from unstir.files import scratch
from unstir.models.file import NAME, load
from unstir.models.systems import ClassifierConfig
from unstir.processes import gathered, processes
from unstir.training.config import Config, TrainingConfig
from unstir.training.loop import Interrupted, train
from unstir.training.start import with_data

if TYPE_CHECKING:
    from unstir.data.dataset import ImageData, Splits
    from unstir.models.classifier import Classifier
    from unstir.models.model import Model

VERSION = 2
"""Of the classifier and its training; whoever changes what it reads raises it."""


def ruler(splits: Splits) -> Classifier:
    """Return the classifier of a set from the cache, trained and kept there first if it is not.

    Raises:
        InputError: If the set has no labels, or only one class.
    """
    name = f"{splits.train.fingerprint}-v{VERSION}"
    return kept(name, lambda path: train_ruler(splits, path))  # type: ignore[return-value]


def kept(name: str, make: Callable[[Path], None]) -> Model:
    """Return the model called ``name`` from the cache; where it is not there, ``make`` leaves it at a path."""
    path = cache_folder() / "classifiers" / f"{name}.safetensors"
    found = _read(path)
    if not all(gathered(found is not None)):
        make(path)
        found = _read(path)
        assert found is not None
    return found


def train_ruler(splits: Splits, path: Path, seed: int = 0) -> None:
    """Train the classifier of a set and leave its model file at ``path``: see ``train_kept``.

    Raises:
        InputError: If the set has no labels, or only one class.
    """
    train_kept(ruler_config(splits.train, seed), splits, path)


def train_kept(config: Config, splits: Splits, path: Path) -> None:
    """Train a model without a run folder and leave its file at ``path``.

    The same seed, images, machine and number of threads give the same weights.

    Raises:
        InputError: If the model cannot learn from these images.
        KeyboardInterrupt: If the user stops it; there is nothing to go on with.
    """
    with_data(config, splits.train, path.parent)  # which says at once what is wrong with the labels
    main = processes().is_main_process
    with scratch(path.parent) if main else nullcontext() as made:  # another command may train it too
        run = gathered(made)[0]
        try:
            # The caller's random numbers stay his own.
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                train(config, run, splits, time.monotonic())
        except Interrupted:
            raise KeyboardInterrupt from None
        if main:
            (run / NAME).replace(path)
    processes().wait_for_everyone()


def ruler_config(data: ImageData, seed: int = 0) -> Config:
    """Return how a set's classifier is trained.

    The images are passed 4 times, and more often (up to 20 times) where that makes fewer than 100,000 in all.
    """
    seen = max(4 * len(data), min(20 * len(data), 100_000))
    batch = min(256 if seen >= 100_000 else 64, len(data))
    return Config(
        recipe="the classifier",
        seed=seed,
        data=DataConfig(source=data.name),
        training=TrainingConfig(
            images=seen, batch=batch, learning_rate=4e-3, weight_decay=0.05, warmup=10**9, decay=0.8
        ),
        model=ClassifierConfig(),
    )


def _read(path: Path) -> Model | None:
    """Return the model kept at ``path``, or None where there is none or its file is damaged."""
    try:
        return load(path)
    except InputError:
        return None
