"""Sources that are arrays already: scikit-learn's bundled digits, and ``.npy`` and ``.npz`` files.

Whatever else an ``.npz`` holds with one entry for each image goes with it: numbers, text, embeddings, pictures.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from unstir.data.columns import Column, class_column, floats, kind_of
from unstir.data.listing import Contents, Listing, Read
from unstir.errors import InputError

_log = logging.getLogger(__name__)


def digits() -> Contents:
    """The 1,797 bundled digits, 0..16 brought to 0..255; a fifth of each class is held back, by a fixed seed."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    train, held_out = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    everything = _listing(pixels, {"label": class_column("label", labels)}, {})
    return Contents(everything.take(np.sort(train)), everything.take(np.sort(held_out)))


def contents(path: Path) -> Contents:
    """The images of an ``.npy`` file, or ``images`` and, where they are there, ``labels`` of an ``.npz`` file.

    Raises:
        InputError: for a file cut short, or labels that do not fit.
    """
    others: dict[str, np.ndarray] = {}
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return Contents(_listing(loaded, {}, {}), None)
        with loaded:
            labels = "labels" if "labels" in loaded.files else "label"
            images, values = loaded["images"], loaded.get(labels)
            for name in sorted({*loaded.files} - {"images", labels}):
                try:
                    others[name] = loaded[name]
                except ValueError:  # pickled objects, which may run anything and are left alone
                    _log.warning("'%s' of '%s' holds neither numbers nor text and is left out", name, path)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"'{path}' cannot be read ({error}); save it again with numpy.") from error
    columns: dict[str, Column] = {}
    pictures: dict[str, Read] = {}
    if values is not None:
        if values.shape != (len(images),):
            raise InputError(
                f"'{path}' holds {len(images)} images but labels of shape {values.shape}; give one for each."
            )
        columns["label"] = class_column("label", values)
    for name, array in others.items():
        if name in columns or array.ndim == 0 or len(array) != len(images):
            continue
        kind = kind_of(array)
        if kind == "picture":
            pictures[name] = _reader(array)
        elif kind is not None:
            columns[name] = Column(kind, tuple(array.tolist()) if kind == "text" else floats(array))
        else:
            _log.warning(
                "'%s' of '%s', %s of shape %s, is of no known kind and is left out",
                *(name, path, array.dtype, array.shape),
            )
    return Contents(_listing(images, columns, pictures), None)


def _listing(pixels: np.ndarray, columns: dict[str, Column], pictures: dict[str, Read]) -> Listing:
    return Listing(np.arange(len(pixels)), _reader(pixels), lambda index: f"image {index}", columns, pictures)


def _reader(pixels: np.ndarray) -> Read:
    return lambda indices: list(pixels[indices])
