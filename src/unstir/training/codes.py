"""Images as the moments that a codec keeps of them: computed once, kept in the cache, and read from there.

What a codec says of an image, such as the mean and the spread of its codes, does not change while a denoiser of
the codes learns. So each image is encoded once, and once more mirrored where training mirrors half of them; the
codes themselves are drawn from these moments anew at each step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from unstir.cache import cache_folder
from unstir.data.dataset import ImageData
from unstir.errors import InputError
from unstir.files import whole_file
from unstir.models.config import CODEC
from unstir.models.model import Examples, Model
from unstir.processes import gathered, processes
from unstir.progress import tracked
from unstir.tensors import tensors_hash

if TYPE_CHECKING:
    from unstir.models.codec import Codec

VERSION = 1
"""Of what is kept; whoever changes it raises it."""

FEW = 256
"""So many images are encoded anew each time: it takes no longer than the model takes to load."""

AT_ONCE = 32


class Coded:
    """Images as moments, with what is known of each.

    Args:
        data: The images.
        plain: Their moments, float32 (N, ...).
        mirrored: Those of the images mirrored left-right; None where none are.
    """

    def __init__(self, data: ImageData, plain: np.ndarray, mirrored: np.ndarray | None) -> None:
        self.data, self.plain, self.mirrored = data, plain, mirrored

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.data)

    def examples(
        self,
        indices: np.ndarray,
        flips: np.ndarray | None = None,
        names: tuple[str, ...] | None = None,
        passes: np.ndarray | None = None,
    ) -> Examples:
        """Return moments and what is known of the images: as :meth:`ImageData.examples`, but for the images."""
        told = self.data.told(indices, flips, names, passes)
        moments = self.plain[indices]
        if flips is not None and self.mirrored is not None:
            moments[flips] = self.mirrored[np.asarray(indices)[flips]]
        return torch.from_numpy(moments), told


def learned(model: Model, data: ImageData, flip: bool) -> ImageData | Coded:
    """Return images as a model learns them: as they are, or as the moments that its codec keeps of them.

    Args:
        model: With its parts.
        data: The images.
        flip: Whether some are to be mirrored.

    Raises:
        InputError: If images are to be altered, which are encoded once, or the cache cannot be written.
    """
    if CODEC not in model.parts:
        return data
    if data.augment:
        raise InputError("A model with a codec learns images that were encoded once: set data.augment=0")
    codec = model.parts[CODEC]
    return Coded(data, _moments(data, codec, False), _moments(data, codec, True) if flip else None)


def _moments(data: ImageData, codec: Model, mirrored: bool) -> np.ndarray:
    """Return the moments of a set's images, a large one's from the cache; of a machine's processes one encodes."""
    if len(data) <= FEW:
        return np.concatenate([*_encoded(data, codec, mirrored)])
    path = _place(data, codec, mirrored)
    found = _read(path)
    if not all(gathered(found is not None)):
        if processes().is_local_main_process:  # each machine may have a cache of its own
            _keep(path, data, codec, mirrored)
        gathered(None)  # the others wait
        found = _read(path)
        assert found is not None
    return found


def _read(path: Path) -> np.ndarray | None:
    """Return what is kept; None where there is nothing, or it is damaged and is made again."""
    try:
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError):
        return None


def _keep(path: Path, data: ImageData, codec: Model, mirrored: bool) -> None:
    with whole_file(path) as partial:
        store: np.ndarray | None = None
        first = 0
        for part in _encoded(data, codec, mirrored, progress=True):
            if store is None:
                shape = (len(data), *part.shape[1:])
                store = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
            store[first : first + len(part)] = part
            first += len(part)
        assert store is not None
        store.flush()  # type: ignore[attr-defined]


def _encoded(data: ImageData, codec: Model, mirrored: bool, progress: bool = False) -> Iterator[np.ndarray]:
    """Yield the moments of a set's images in order, float32."""
    verbs: Codec = codec  # type: ignore[assignment]
    starts = range(0, len(data), AT_ONCE)
    for first in tracked(starts, len(starts), "encoding mirrored" if mirrored else "encoding", progress):
        rows = np.arange(first, min(first + AT_ONCE, len(data)))
        images, _ = data.examples(rows, np.full(len(rows), mirrored), ())
        yield verbs.moments(images).float().cpu().numpy()


def _place(data: ImageData, codec: Model, mirrored: bool) -> Path:
    key = f"{data.fingerprint} {tensors_hash(codec.state_dict())} {codec.config.model_dump_json()} {VERSION}"
    name = hashlib.blake2b(key.encode(), digest_size=10).hexdigest()
    return cache_folder() / "codes" / f"{name}{'-mirrored' if mirrored else ''}.npy"
