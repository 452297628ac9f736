import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from unstir.data.dataset import ImageData, Splits
from unstir.errors import InputError
from unstir.evaluation import classifier as module
from unstir.evaluation.classifier import FEATURES, Classifier, classifier_for, extract, train_classifier

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist"


def bars(count, seed, shape=(1, 12, 20), shade=255):
    """Images of two classes: a bright row, or a bright column, anywhere on noise."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 60, size=(count, *shape)).astype(np.uint8)
    labels = random.integers(0, 2, size=count)
    for image, label in zip(pixels, labels):
        if label:
            image[:, :, random.integers(shape[2])] = shade
        else:
            image[:, random.integers(shape[1]), :] = shade
    return ImageData.from_array(pixels, labels, name="bars")


@pytest.fixture
def small():
    return Splits(bars(200, 0), bars(100, 1))


@pytest.fixture
def trainings(monkeypatch):
    """Count the calls of `train_classifier`, which a stand-in answers untrained."""
    calls = []

    def stand_in(train, held_out, progress=True):
        calls.append(train.fingerprint)
        torch.manual_seed(len(calls))
        return Classifier(train.shape, train.num_classes, accuracy=0.75).eval()

    monkeypatch.setattr(module, "train_classifier", stand_in)
    return calls


def test_digits_are_learnt_in_seconds(digits):
    start = time.monotonic()
    classifier = classifier_for(digits, progress=False)
    assert classifier.accuracy > 0.95
    assert time.monotonic() - start < 60
    # The accuracy is that of reading the held-out images, in their order.
    features, probabilities = extract(classifier, digits.held_out)
    assert (probabilities.argmax(1) == digits.held_out.labels).mean() == classifier.accuracy
    assert features.shape == (360, FEATURES) and features.dtype == np.float64
    assert np.linalg.matrix_rank(np.cov(features, rowvar=False)) > FEATURES // 2


def test_any_shape_is_learnt_and_the_same_seed_gives_the_same_weights(small):
    state = torch.get_rng_state()
    first = train_classifier(small.train, small.held_out, progress=False)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers are left alone
    assert first.accuracy > 0.9
    second = train_classifier(small.train, small.held_out, progress=False)
    other = train_classifier(small.train, small.held_out, progress=False, seed=1)
    for a, b in zip(first.state_dict().values(), second.state_dict().values()):
        assert torch.equal(a, b)
    assert not torch.equal(first.head.weight, other.head.weight)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 8, 8), (4, 5, 17), (1, 28, 28), (3, 64, 40), (2, 130, 140)])
def test_body_halves_until_the_shorter_side_is_at_most_8(shape):
    classifier = Classifier(shape, 3).eval()
    x = torch.randn(2, *shape)
    side = min(classifier.body(x).shape[2:])
    assert side <= 8 and (side > 4 or min(shape[1:]) <= 8)
    torch.testing.assert_close(classifier.head(classifier.features(x)), classifier(x))


def test_extract_does_not_depend_on_the_batch_and_reads_sets_as_tensors(digits):
    classifier = classifier_for(digits, progress=False)
    tensor, _ = digits.held_out.batch(np.arange(len(digits.held_out)))
    features, probabilities = extract(classifier, digits.held_out, batch=500)
    for images, batch in ((tensor, 7), (digits.held_out, 359)):
        again = extract(classifier, images, batch=batch)
        np.testing.assert_allclose(again[0], features, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(again[1], probabilities, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(
            classifier(tensor).softmax(1).double(), torch.from_numpy(probabilities), rtol=1e-3, atol=1e-5
        )


def test_extract_refuses_another_shape(small):
    with pytest.raises(InputError, match=r"\(1, 12, 20\)"):
        extract(Classifier((1, 12, 20), 2).eval(), torch.zeros(3, 1, 20, 12))


def test_shifts_move_each_image_whole():
    x = torch.randn(40, 2, 24, 36)
    moved = module._shifted(x, np.random.default_rng(0))
    seen = set()
    for before, after in zip(x, moved):
        inner = after[:, 6:-6, 6:-6]
        hits = [
            (down, right)
            for down in range(-3, 4)
            for right in range(-4, 5)
            if torch.equal(inner, before[:, 6 + down : 18 + down, 6 + right : 30 + right])
        ]
        assert len(hits) == 1
        seen.update(hits)
    assert {down for down, _ in seen} == set(range(-2, 3))
    assert {right for _, right in seen} == set(range(-3, 4))


def test_second_call_reads_the_cache(small, trainings, tmp_path, monkeypatch):
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path))
    first = classifier_for(small, progress=False)
    second = classifier_for(small, progress=False)
    assert trainings == [small.train.fingerprint]
    assert second.accuracy == 0.75 and not second.training
    x = torch.randn(4, 1, 12, 20)
    torch.testing.assert_close(second(x), first(x))
    assert os.listdir(tmp_path / "classifiers") == [f"{small.train.fingerprint}-v1.safetensors"]


def test_other_training_images_train_anew(small, trainings, tmp_path, monkeypatch):
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path))
    classifier_for(small, progress=False)
    classifier_for(Splits(bars(200, 0, shade=254), small.held_out), progress=False)
    classifier_for(Splits(small.train, bars(50, 2)), progress=False)  # only the held-out images differ
    assert len(trainings) == 2


def test_damaged_cache_file_is_replaced(small, trainings, tmp_path, monkeypatch):
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path))
    classifier_for(small, progress=False)
    (file,) = (tmp_path / "classifiers").iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    classifier_for(small, progress=False)
    classifier_for(small, progress=False)
    assert len(trainings) == 2


def test_failed_write_leaves_nothing(small, trainings, tmp_path, monkeypatch):
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path))
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(InputError, match="disk full"):
        classifier_for(small, progress=False)
    assert os.listdir(tmp_path / "classifiers") == []


def test_sets_without_two_classes_are_refused(small):
    pixels = small.train.pixels
    with pytest.raises(InputError, match="'plain' have none"):
        train_classifier(ImageData.from_array(pixels, name="plain"), small.held_out)
    with pytest.raises(InputError, match="two classes"):
        train_classifier(ImageData.from_array(pixels, np.zeros(200), name="one"), small.held_out)


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_dir(), reason="the MNIST images are not in ../shared/data/mnist")
def test_mnist_is_read_with_99_percent():
    from datasets import load_dataset

    rows = load_dataset(str(MNIST))
    parts = {
        split: ImageData.from_array(
            np.stack([np.asarray(image) for image in rows[split]["image"]])[:, None], rows[split]["label"]
        )
        for split in ("train", "test")
    }
    assert train_classifier(parts["train"], parts["test"]).accuracy >= 0.99
