"""The captions of a run, read by the model's text encoders before training, so that no step waits for one.

Which images a run of so many sees is known beforehand: of a short one only their captions are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from unstir.data.order import order
from unstir.errors import InputError
from unstir.models.encoders import PACKAGED, find_encoder
from unstir.training.config import Config

if TYPE_CHECKING:
    from unstir.data.dataset import ImageData
    from unstir.networks.told import Told


def with_encoders(config: Config) -> Config:
    """Return the configuration with its text encoders found: those that are folders by their whole paths.

    Raises:
        InputError: If one is not there.
    """
    told = dict(config.model.told)
    for name, one in config.model.texts.items():
        folder = Path(one.encoder).expanduser()
        if one.encoder not in PACKAGED and folder.is_dir():
            told[name] = one.model_copy(update={"encoder": str(folder.absolute())})
        find_encoder(told[name].encoder)
    return config.model_copy(update={"model": config.model.model_copy(update={"told": told})})


def with_captions(config: Config, data: ImageData) -> Config:
    """Return the configuration with what its text encoders turned out to be, once they have read the captions.

    Args:
        config: Which has seen its data.
        data: The training images.

    Raises:
        InputError: If an encoder cannot be used, or no image has a caption.
    """
    if not config.model.texts:
        return config
    from unstir.models.text import textbook

    told: dict[str, Told] = {}
    training = config.training
    steps = len(data) if training.images is None else -(-training.images // training.batch)
    seen = order(len(data), config.seed, 0, min(len(data), steps * training.batch)).tolist()
    for name, one in config.model.texts.items():
        captions = data.columns[config.model.sources[name]].values
        if not any(captions):
            raise InputError(f"The model is to be told {name}, and no image of '{data.name}' has a caption")
        wanted = [captions[i] for i in seen]
        facts = textbook(one.encoder).learn(wanted if any(wanted) else captions)
        told[name] = one.model_copy(update=facts if one.enters == "tokens" else {**facts, "length": 0})
    model = config.model.model_copy(update={"told": {**config.model.told, **told}})
    return config.model_copy(update={"model": model})


def read_captions(config: Config, held_out: ImageData) -> None:
    """Read the captions of the held-out images on which a run is measured and of which its pictures are told.

    Args:
        config: Which has seen its data and encoders.
        held_out: The held-out images.

    Raises:
        InputError: If an encoder cannot be used.
    """
    if not config.model.texts:
        return
    from unstir.models.text import textbook
    from unstir.training.learner import VALIDATION_IMAGES
    from unstir.training.preview import picture_size

    count = len(held_out)
    rows = {*order(count, config.seed, 0, min(VALIDATION_IMAGES, count)).tolist()}
    rows |= {*range(min(picture_size(config.model), count))}
    for name, one in config.model.texts.items():
        captions = [held_out.columns[config.model.sources[name]].values[i] for i in sorted(rows)]
        if any(captions):
            textbook(one.encoder).learn(captions)
