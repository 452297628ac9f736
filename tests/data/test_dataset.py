from __future__ import annotations

import numpy as np
import pytest
import torch

from unstir.data.dataset import ImageData, fingerprint
from unstir.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 4, 6), dtype=np.uint8)


def test_a_batch_is_the_images_asked_for_between_minus_one_and_one() -> None:
    data = ImageData.from_array(PIXELS, labels=np.arange(9) % 3, classes=("a", "b", "c"))
    images, labels = data.batch(np.array([8, 0, 8]))
    assert images.dtype == torch.float32 and labels is not None and labels.dtype == torch.int64
    np.testing.assert_allclose(images.numpy(), PIXELS[[8, 0, 8]] / 127.5 - 1, atol=1e-6)
    assert labels.tolist() == [2, 0, 2]
    assert data.shape == (7, 4, 6) and len(data) == 9 and data.num_classes == 3


def test_black_and_white_are_the_exact_ends() -> None:
    data = ImageData.from_array(np.array([0, 255], np.uint8).reshape(1, 1, 1, 2))
    images, labels = data.batch(np.array([0]))
    assert images.flatten().tolist() == [-1.0, 1.0] and labels is None
    every, _ = ImageData.from_array(np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)).batch(np.array([0]))
    np.testing.assert_allclose((every.flatten().double() + 1) * 127.5, np.arange(256), atol=1e-5)


def test_flips_mirror_left_and_right_of_the_flagged_images_only() -> None:
    data = ImageData.from_array(PIXELS)
    indices, flips = np.array([2, 5, 2, 7]), np.array([True, False, False, True])
    plain, _ = data.batch(indices)
    mirrored, _ = data.batch(indices, flips)
    assert torch.equal(mirrored[flips], plain[flips].flip(-1))
    assert torch.equal(mirrored[~flips], plain[~flips])
    assert torch.equal(data.batch(indices)[0], plain)  # the pixels themselves are untouched


def test_read_only_pixels_can_be_flipped() -> None:
    pixels = PIXELS.copy()
    pixels.flags.writeable = False
    ImageData.from_array(pixels).batch(np.array([1]), np.array([True]))
    np.testing.assert_array_equal(pixels, PIXELS)


def test_classes_are_the_sorted_label_values() -> None:
    data = ImageData.from_array(PIXELS[:4], labels=[30, 4, 30, 5])
    assert data.classes == ("4", "5", "30")
    assert data.labels is not None and data.labels.tolist() == [2, 0, 2, 1]


def test_fingerprint_tells_content_shape_and_labels_apart() -> None:
    labels = np.arange(9)
    other = PIXELS.copy()
    other[8, 6, 3, 5] ^= 1
    prints = {
        fingerprint(PIXELS, None),
        fingerprint(other, None),
        fingerprint(PIXELS.reshape(9, 7, 6, 4), None),
        fingerprint(PIXELS[::-1], None),
        fingerprint(PIXELS, labels),
        fingerprint(PIXELS, labels[::-1]),
    }
    assert len(prints) == 6
    assert fingerprint(PIXELS[:, :, ::-1][:, :, ::-1], labels) == fingerprint(PIXELS, labels.astype(np.int32))


@pytest.mark.parametrize(
    ("pixels", "labels", "classes", "says"),
    [
        (PIXELS.astype(np.float32), None, (), "float32"),
        (PIXELS[0], None, (), "shape"),
        (PIXELS[:0], None, (), "shape"),
        (PIXELS, [1, 2], (), "2 labels"),
        (PIXELS, [0] * 8 + [2], ("a", "b"), "0..1"),
        (PIXELS, [0] * 8 + [-1], ("a", "b"), "0..1"),
        (PIXELS, ["a"] * 9, ("a", "b"), "integers"),
    ],
)
def test_what_does_not_fit_is_refused(pixels: np.ndarray, labels: list | None, classes: tuple, says: str) -> None:
    with pytest.raises(InputError, match=says):
        ImageData.from_array(pixels, labels, classes)
