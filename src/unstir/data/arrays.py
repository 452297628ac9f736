"""Sources that are arrays already: scikit-learn's bundled digits, and ``.npy`` and ``.npz`` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unstir.data.dataset import label_indices
from unstir.data.listing import Contents, Listing
from unstir.errors import InputError


def digits() -> Contents:
    """The 1,797 bundled digits, 0..16 brought to 0..255; a fifth of each class is held back, by a fixed seed."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    train, held_out = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    everything = _listing(pixels, labels.astype(np.int64))
    names = tuple(str(digit) for digit in range(10))
    return Contents(everything.take(np.sort(train)), everything.take(np.sort(held_out)), names)


def contents(path: Path) -> Contents:
    """The images of an ``.npy`` file, or ``images`` and, where they are there, ``labels`` of an ``.npz`` file.

    Raises:
        InputError: for a file cut short, or labels that do not fit.
    """
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return Contents(_listing(loaded, None), None, ())
        with loaded:
            images, values = loaded["images"], loaded.get("labels")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"'{path}' cannot be read ({error}); save it again with numpy.") from error
    if values is None:
        return Contents(_listing(images, None), None, ())
    if values.shape != (len(images),):
        raise InputError(
            f"'{path}' holds {len(images)} images but labels of shape {values.shape}; give one for each."
        )
    labels, classes = label_indices(values)
    return Contents(_listing(images, labels), None, classes)


def _listing(pixels: np.ndarray, labels: np.ndarray | None) -> Listing:
    return Listing(
        indices=np.arange(len(pixels)),
        read=lambda indices: list(pixels[indices]),
        name=lambda index: f"image {index}",
        labels=labels,
    )
