from __future__ import annotations

import numpy as np
import pytest
import torch

from unstir.data.dataset import Column, ImageData
from unstir.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 4, 6), dtype=np.uint8)


def test_a_batch_is_the_images_asked_for_between_minus_one_and_one() -> None:
    data = ImageData.from_array(PIXELS, labels=np.arange(9) % 3, classes=("a", "b", "c"))
    images, told = data.examples(np.array([8, 0, 8]))
    labels = told["label"]
    assert images.dtype == torch.float32 and isinstance(labels, torch.Tensor) and labels.dtype == torch.int64
    np.testing.assert_allclose(images.numpy(), PIXELS[[8, 0, 8]] / 127.5 - 1, atol=1e-6)
    assert labels.tolist() == [2, 0, 2]
    assert data.shape == (7, 4, 6) and len(data) == 9 and data.num_classes == 3


def test_black_and_white_are_the_exact_ends() -> None:
    data = ImageData.from_array(np.array([0, 255], np.uint8).reshape(1, 1, 1, 2))
    images, told = data.examples(np.array([0]))
    assert images.flatten().tolist() == [-1.0, 1.0] and told == {}
    assert data.labels is None and data.classes == () and data.facts() == {}
    every, _ = ImageData.from_array(np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)).examples(np.array([0]))
    np.testing.assert_allclose((every.flatten().double() + 1) * 127.5, np.arange(256), atol=1e-5)


def test_flips_mirror_left_and_right_of_the_flagged_images_only() -> None:
    data = ImageData.from_array(PIXELS)
    indices, flips = np.array([2, 5, 2, 7]), np.array([True, False, False, True])
    plain, _ = data.examples(indices)
    mirrored, _ = data.examples(indices, flips)
    assert torch.equal(mirrored[flips], plain[flips].flip(-1))
    assert torch.equal(mirrored[~flips], plain[~flips])
    assert torch.equal(data.examples(indices)[0], plain)  # the pixels themselves are untouched


def test_read_only_pixels_can_be_flipped() -> None:
    pixels = PIXELS.copy()
    pixels.flags.writeable = False
    ImageData.from_array(pixels).examples(np.array([1]), np.array([True]))
    np.testing.assert_array_equal(pixels, PIXELS)


def test_classes_are_the_sorted_label_values() -> None:
    data = ImageData.from_array(PIXELS[:4], labels=[30, 4, 30, 5])
    assert data.classes == ("4", "5", "30")
    assert data.labels is not None and data.labels.tolist() == [2, 0, 2, 1]


def everything(**changes: object) -> ImageData:
    """Nine images with a column of each kind."""
    random = np.random.default_rng(1)
    columns = {
        "age": np.array([3, 1, 4, 1, 5, 9, 2, 6, 5]),
        "pose": random.normal(size=(9, 2)),
        "caption": [f"caption {i}" for i in range(9)],
        "tokens": random.normal(size=(9, 3, 5)),
        "vector": Column("embedding", random.normal(size=(9, 4))),
        "edges": random.integers(0, 256, (9, 1, 2, 3), dtype=np.uint8),
        "artist": Column("classes", list("xyzxyzyyx")),
        "given": Column("classes", [2, 0, 1] * 3, ("r", "s", "t")),
    }
    return ImageData.from_array(PIXELS, np.arange(9) % 3, ("a", "b", "c"), columns=columns | changes)


def test_examples_have_a_value_of_every_column_for_each_image() -> None:
    data, rows = everything(), [7, 2, 7, 5]
    images, told = data.examples(np.array(rows))
    np.testing.assert_allclose(images.numpy(), PIXELS[rows] / 127.5 - 1, atol=1e-6)
    assert list(told) == ["label", "age", "pose", "caption", "tokens", "vector", "edges", "artist", "given"]
    assert told["caption"] == ["caption 7", "caption 2", "caption 7", "caption 5"]
    tensors = {name: value for name, value in told.items() if isinstance(value, torch.Tensor)}
    assert {n for n, v in tensors.items() if v.dtype == torch.int64} == {"label", "artist", "given"}
    assert all(v.dtype == torch.float32 for n, v in tensors.items() if n not in ("label", "artist", "given"))
    assert tensors["label"].tolist() == [1, 2, 1, 2] and tensors["age"].tolist() == [[6], [4], [6], [9]]
    assert tensors["artist"].tolist() == [1, 2, 1, 2] and tensors["given"].tolist() == [0, 1, 0, 1]
    random = np.random.default_rng(1)
    pose, tokens, vector = (random.normal(size=size) for size in ((9, 2), (9, 3, 5), (9, 4)))
    edges = random.integers(0, 256, (9, 1, 2, 3), dtype=np.uint8)
    np.testing.assert_allclose(tensors["pose"], pose[rows], rtol=1e-6)
    np.testing.assert_allclose(tensors["tokens"], tokens[rows], rtol=1e-6)
    np.testing.assert_allclose(tensors["vector"], vector[rows], rtol=1e-6)
    np.testing.assert_allclose(tensors["edges"], edges[rows] / 127.5 - 1, atol=1e-6)


def test_pictures_are_mirrored_with_their_image() -> None:
    data, indices, flips = everything(), np.array([2, 5, 2]), np.array([True, False, False])
    plain, told = data.examples(indices)
    mirrored, then = data.examples(indices, flips)
    assert torch.equal(mirrored[0], plain[0].flip(-1)) and torch.equal(mirrored[1:], plain[1:])
    before, after = told.pop("edges"), then.pop("edges")
    assert isinstance(before, torch.Tensor) and isinstance(after, torch.Tensor)
    assert torch.equal(after[0], before[0].flip(-1)) and not torch.equal(after[0], before[0])
    assert torch.equal(after[1:], before[1:])
    for name, value in told.items():
        assert value == then[name] if isinstance(value, list) else torch.equal(value, then[name])


def test_facts_are_what_a_network_must_know() -> None:
    facts = everything(same=[0.1] * 9).facts()
    assert facts["label"] == {"kind": "classes", "classes": ("a", "b", "c")}
    assert facts["artist"] == {"kind": "classes", "classes": ("x", "y", "z")}
    ages = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5])
    assert facts["age"] == {"kind": "numbers", "width": 1, "mean": (ages.mean(),), "std": (ages.std(),)}
    assert facts["pose"]["width"] == 2 and len(facts["pose"]["mean"]) == len(facts["pose"]["std"]) == 2  # type: ignore[arg-type]
    assert facts["same"]["mean"] == (pytest.approx(0.1),) and facts["same"]["std"] == (1.0,)
    assert facts["caption"] == {"kind": "text"} and facts["edges"] == {"kind": "picture", "width": 1}
    assert facts["tokens"] == {"kind": "embedding", "width": 5, "length": 3}
    assert facts["vector"] == {"kind": "embedding", "width": 4}


def test_the_kind_of_plain_values_follows_from_their_type() -> None:
    columns: dict[str, object] = {
        "booleans": [True] * 9,
        "floats": np.ones(9, np.float16),
        "several": np.ones((9, 2), np.float64),
        "words": np.array(list("abcabcabc")),
        "pictures": PIXELS,
        "tokens": np.ones((9, 1, 1)),
    }
    data = ImageData.from_array(PIXELS, columns=columns)
    kinds = [column.kind for column in data.columns.values()]
    assert kinds == ["numbers", "numbers", "numbers", "text", "picture", "embedding"]
    assert np.shares_memory(data.columns["pictures"].array, PIXELS)
    # A column called label is a label only if it is one of classes.
    assert ImageData.from_array(PIXELS, columns={"label": [1] * 9}).labels is None
    assert ImageData.from_array(PIXELS, columns={"label": Column("classes", [4] * 9)}).classes == ("4",)


def test_fingerprint_tells_content_and_shape_apart() -> None:
    other = PIXELS.copy()
    other[8, 6, 3, 5] ^= 1
    shapes = (PIXELS, other, PIXELS.reshape(9, 7, 6, 4), PIXELS[::-1])
    assert len({ImageData.from_array(pixels).fingerprint for pixels in shapes}) == 4
    again = ImageData.from_array(PIXELS[:, :, ::-1][:, :, ::-1])
    assert again.fingerprint == ImageData.from_array(PIXELS).fingerprint


def test_fingerprint_tells_columns_apart() -> None:
    captions = [f"caption {i}" for i in range(9)]
    edges = np.random.default_rng(1).integers(0, 256, (9, 1, 2, 3), dtype=np.uint8)
    values = np.arange(9.0)
    changes: list[dict[str, object]] = [
        {},
        {"caption": [*captions[:8], "caption eight"]},
        {"caption": [*captions[:7], captions[8], captions[7]]},
        {"caption": [*captions[:7], "caption 7caption 8", ""]},
        {"age": [3, 1, 4, 1, 5, 9, 2, 6, 5.001]},
        {"artist": Column("classes", list("xyzxyzyyz"))},
        {"artist": Column("classes", list("xywxywyyx"))},
        {"edges": edges},
        {"edges": edges ^ 1},
        {"more": values},
        {"other": values},
        {"more": Column("embedding", values[:, None])},
    ]
    assert len({everything(**change).fingerprint for change in changes}) == len(changes)
    assert everything().fingerprint == everything().fingerprint
    first = ImageData.from_array(PIXELS, columns={"a": values, "b": captions})
    assert first.fingerprint == ImageData.from_array(PIXELS, columns={"b": captions, "a": values}).fingerprint
    moved = ImageData.from_array(PIXELS, columns={"b": values, "a": captions})
    assert moved.fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([1, 2], "9 images but 2 values of 'x'"),
        (["a"] * 8, "9 images but 8 values of 'x'"),
        (5, "not int64 of shape \\(\\)"),
        (Column("picture", PIXELS[:3]), "9 images but 3 values of 'x'"),
        ([0.0] * 8 + [np.nan], "'x' must be finite, and is not for 1 of 9"),
        (np.full((9, 2, 2), np.inf), "'x' must be finite, and is not for 9 of 9"),
        (np.zeros((9, 4, 4), np.uint8), "'x' must hold numbers, strings or uint8 pictures"),
        ([[1], [1, 2]] + [[1]] * 7, "'x' must be an array"),
        (Column("embedding", np.zeros(9)), "'x' must hold embedding of 2 or 3 axes"),
        (Column("numbers", np.zeros((9, 1, 1))), "'x' must hold numbers of 1 or 2 axes"),
        (Column("picture", np.zeros((9, 1, 2, 2))), "pictures 'x' must be uint8"),
        (Column("text", np.zeros(9)), "'x' must hold one string"),
        (Column("classes", [0] * 8 + [2], ("a", "b")), r"classes 'x' must be integers in 0\.\.1"),
    ],
)
def test_columns_that_do_not_fit_are_refused(given: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        ImageData.from_array(PIXELS, columns={"x": given})


def test_labels_are_given_once() -> None:
    with pytest.raises(InputError, match="one of the two"):
        ImageData.from_array(PIXELS, [0] * 9, columns={"label": [0] * 9})


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
