"""The statistics of a set's features, kept in the cache: a network that takes hours to read a set reads it once.

Their file says whose they are: the images (by the set's fingerprint), how many of them, and the backbone by its
key, a hash of its weights and its preprocessing. Figures of one and of another must not be mixed, so a file that
says otherwise than it is called is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unstir.cache import cache_folder
from unstir.errors import InputError
from unstir.evaluation.frechet import Statistics
from unstir.processes import gathered, processes
from unstir.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from unstir.data.dataset import ImageData
    from unstir.evaluation.backbones.backbone import Backbone

VERSION = 1
"""Of which images stand for a number of them; whoever changes that raises it."""


def rows(data: ImageData, count: int) -> np.ndarray:
    """Return which ``count`` images of a set stand for it, in their order, always the same: int (count,)."""
    return np.sort(np.random.default_rng(0).permutation(len(data))[:count])


def kept(data: ImageData, backbone: Backbone, count: int, part: str) -> Statistics | None:
    """Return the statistics of ``count`` images of a set from the cache; None where some process finds none.

    Args:
        data: The set.
        backbone: What reads it.
        count: How many images, those of :func:`rows`.
        part: ``moments`` or ``spatial``.

    Raises:
        InputError: If what is there is of other images or of another backbone.
    """
    path = _path(data, backbone, count, part)
    try:
        about, tensors = read_tensors(path)
    except InputError:  # there is none, or it is damaged and is made again
        about, tensors = None, {}
    if not all(gathered(about is not None)):
        return None
    assert about is not None
    for name, value in _about(data, backbone, count, part).items():
        if about.told.get(name) != value:
            raise InputError(
                f"{path} holds statistics of {name} {about.told.get(name)} and not of {value}: remove it, and "
                "they are made again"
            )
    found = Statistics()
    found.count, found.mean, found.squares = count, tensors["mean"].numpy(), tensors["squares"].numpy()
    return found


def keep(
    found: Statistics, data: ImageData, backbone: Backbone, count: int, part: str, images_of: str = ""
) -> None:
    """Keep the statistics of ``count`` images of a set; of several processes the first does.

    Args:
        found: The statistics.
        data: The set.
        backbone: What has read it.
        count: How many images.
        part: ``moments`` or ``spatial``.
        images_of: Which images of which set they are, for who looks into the file.

    Raises:
        InputError: If they are of another number of images, or the cache cannot be written.
    """
    import torch

    if found.count != count:
        raise InputError(f"statistics of {found.count} images are not those of {count}")
    if processes().is_main_process:
        tensors = {"mean": torch.from_numpy(found.mean), "squares": torch.from_numpy(found.squares)}
        about = _about(data, backbone, count, part) | {"images of": images_of}
        write_tensors(_path(data, backbone, count, part), tensors, about)


def _path(data: ImageData, backbone: Backbone, count: int, part: str) -> Path:
    name = f"{data.fingerprint}-{backbone.key}-{count}-{part}-v{VERSION}.safetensors"
    return cache_folder() / "statistics" / name


def _about(data: ImageData, backbone: Backbone, count: int, part: str) -> dict[str, object]:
    return {
        "images": count,
        "fingerprint": data.fingerprint,
        "backbone": backbone.name,
        "key": backbone.key,
        "part": part,
        "version": VERSION,
    }
