"""Sources that are arrays already: scikit-learn's bundled digits, and ``.npy`` and ``.npz`` files.

Whatever else an ``.npz`` holds with one entry for each image goes with it: numbers, text, embeddings, pictures.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from unstir.data.array_file import IMAGES, array, heads, taken_as, turned
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
        InputError: for a file cut short or damaged, or labels that do not fit.
    """
    there = heads(path)
    images = array(path, IMAGES)
    taken = [f"taken as {axes}"] if (axes := taken_as(images.shape)) else []
    labels = "labels" if "labels" in there else "label"
    values = array(path, labels) if labels in there else None
    others: dict[str, np.ndarray] = {}
    for name in sorted(there.keys() - {IMAGES, labels}):
        if there[name].dtype.hasobject:  # pickled objects, which may run anything and are left alone
            _log.warning("'%s' of '%s' holds neither numbers nor text and is left out", name, path)
        elif there[name].shape[:1] == images.shape[:1]:
            others[name] = array(path, name)
    columns: dict[str, Column] = {}
    pictures: dict[str, Read] = {}
    if values is not None:
        if values.shape != (len(images),):
            raise InputError(
                f"'{path}' holds {len(images)} images but labels of shape {values.shape}; give one for each."
            )
        columns["label"] = class_column("label", values)
    for name, given in others.items():
        if name in columns:
            continue
        kind = kind_of(given)
        if kind == "picture":
            pictures[name] = _reader(given)
            taken += [f"{name} taken as {axes}"] if (axes := taken_as(given.shape)) else []
        elif kind is not None:
            columns[name] = Column(kind, tuple(given.tolist()) if kind == "text" else floats(given))
        else:
            _log.warning(
                "'%s' of '%s', %s of shape %s, is of no known kind and is left out",
                *(name, path, given.dtype, given.shape),
            )
    return Contents(_listing(images, columns, pictures), None, "; ".join(taken))


def _listing(pixels: np.ndarray, columns: dict[str, Column], pictures: dict[str, Read]) -> Listing:
    return Listing(np.arange(len(pixels)), _reader(pixels), lambda index: f"image {index}", columns, pictures)


def _reader(pixels: np.ndarray) -> Read:
    if turned(pixels.shape):
        pixels = pixels.transpose(0, 3, 1, 2)
    return lambda indices: list(pixels[indices])
