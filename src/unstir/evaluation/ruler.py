"""The ruler of a labelled set: a classifier of its clean images, trained once and kept in the cache.

It is trained as any model is, on the set's own training images, in a minute or two on two CPU cores, and kept under
the fingerprint of those images. Training runs in the format that the machine is fastest in, so two machines' rulers
differ a little; images are read in float32 everywhere.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from unstir.cache import cache_folder
from unstir.data.config import DataConfig
from unstir.errors import InputError
from unstir.models.file import load
from unstir.models.systems import ClassifierConfig
from unstir.processes import gathered, processes
from unstir.progress import said
from unstir.training.config import Config, TrainingConfig
from unstir.training.loop import train

if TYPE_CHECKING:
    from unstir.data.dataset import Splits
    from unstir.models.classifier import Classifier

VERSION = 2
"""Of the classifier and its training; whoever changes what it reads raises it."""


def ruler(splits: Splits) -> Classifier:
    """Return the classifier of a set from the cache, trained and kept there first if it is not.

    Raises:
        InputError: If the set has no labels, or only one class.
    """
    folder = cache_folder() / "classifiers" / f"{splits.train.fingerprint}-v{VERSION}"
    if gathered(_whole(folder))[0]:
        return load(folder)  # type: ignore[return-value]
    config = ruler_config(splits)
    train(config, folder, splits, time.monotonic())
    processes().wait_for_everyone()
    return load(folder)  # type: ignore[return-value]
