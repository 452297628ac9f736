import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from unstir.data.dataset import ImageData, Splits
from unstir.errors import InputError
from unstir.evaluation import ruler as module
from unstir.evaluation.ruler import VERSION, ruler, ruler_config, train_ruler
from unstir.models.file import NAME, load, save
from unstir.training.start import with_data

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
def own(tmp_path, monkeypatch):
    """An empty cache; what is in its folder of classifiers."""
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path))
    return lambda: sorted(os.listdir(tmp_path / "classifiers"))


@pytest.fixture
def trainings(monkeypatch):
    """The fingerprints of what was trained on; a stand-in leaves an untrained classifier, another each time."""
    calls = []

    def stand_in(config, out, splits, began):
        calls.append(splits.train.fingerprint)
        torch.manual_seed(len(calls))
        save(out / NAME, with_data(config, splits.train, out).model.build({}))

    monkeypatch.setattr(module, "train", stand_in)
    return calls


def accuracy(classifier, data):
    images, told = data.examples(np.arange(len(data)))
    return float((classifier.classify(images).argmax(1) == told["label"]).float().mean())


def test_digits_are_learnt_in_seconds(digits):
    start = time.monotonic()
    classifier = ruler(digits)
    assert time.monotonic() - start < 60
    assert accuracy(classifier, digits.held_out) > 0.95
    features, probabilities = classifier.read(digits.held_out.examples(np.arange(360))[0])
    assert features.shape == (360, 64) and probabilities.shape == (360, 10)
    assert np.linalg.matrix_rank(np.cov(features.numpy(), rowvar=False)) > 32
    assert not any(parameter.requires_grad for parameter in classifier.parameters())


@pytest.mark.slow
def test_any_shape_is_learnt_and_the_same_seed_gives_the_same_weights(small, tmp_path):
    state = torch.get_rng_state()
    for name, seed in (("first", 0), ("second", 0), ("other", 1)):
        train_ruler(small, tmp_path / f"{name}.safetensors", seed)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers are left alone
    assert sorted(os.listdir(tmp_path)) == ["first.safetensors", "other.safetensors", "second.safetensors"]
    first, second, other = (load(tmp_path / f"{name}.safetensors") for name in ("first", "second", "other"))
    assert accuracy(first, small.held_out) > 0.9
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_few_images_are_passed_more_often():
    for count, seen, batch in ((50, 1000, 50), (1437, 28740, 64), (10_000, 100_000, 256), (60_000, 240_000, 256)):
        pixels = np.zeros((count, 1, 1, 1), dtype=np.uint8)
        training = ruler_config(ImageData.from_array(pixels, np.arange(count) % 2)).training
        assert (training.images, training.batch) == (seen, batch)


def test_second_call_reads_the_cache(small, trainings, own):
    first, second = ruler(small), ruler(small)
    assert trainings == [small.train.fingerprint]
    assert not first.training and not second.training
    x = torch.randn(4, 1, 12, 20)
    assert torch.equal(second.classify(x), first.classify(x))
    assert own() == [f"{small.train.fingerprint}-v{VERSION}.safetensors"]


def test_other_training_images_train_anew(small, trainings, own):
    ruler(small)
    ruler(Splits(bars(200, 0, shade=254), small.held_out))
    ruler(Splits(small.train, bars(50, 2)))  # only the held-out images differ
    assert len(trainings) == len(own()) == 2


def test_other_labels_of_the_same_images_train_anew(small, trainings, own):
    ruler(small)
    data = small.train
    ruler(Splits(ImageData.from_array(data.pixels, 1 - data.labels), small.held_out))
    assert len(trainings) == len(own()) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_cache_file_is_replaced(damage, small, trainings, own, tmp_path):
    ruler(small)
    (file,) = (tmp_path / "classifiers").iterdir()
    whole = file.read_bytes()
    flipped = whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:]  # of the last weight, one bit
    file.write_bytes({"cut": whole[:1000], "flipped": flipped, "empty": b""}[damage])
    ruler(small)
    ruler(small)
    assert len(trainings) == 2
    assert own() == [file.name]


def test_failed_write_leaves_nothing(small, own, monkeypatch):
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(InputError, match="disk full"):
        ruler(small)
    assert own() == []


def test_an_interruption_leaves_nothing_and_is_one(small, own, monkeypatch):
    prepare = module.ClassifierConfig.build

    def interrupted(config, parts):
        model = prepare(config, parts)
        model.register_forward_pre_hook(lambda *_: os.kill(os.getpid(), signal.SIGINT))
        return model

    monkeypatch.setattr(module.ClassifierConfig, "build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ruler(small)
    assert own() == []


def test_sets_without_two_classes_are_refused_before_anything_is_written(small, tmp_path, monkeypatch):
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path / "none"))
    pixels = small.train.pixels
    for labels, count in ((None, 0), (np.zeros(200), 1)):
        data = ImageData.from_array(pixels, labels, name="plain")
        with pytest.raises(InputError, match=f"two classes or more, and these have {count}"):
            ruler(Splits(data, small.held_out))
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_dir(), reason="the MNIST images are not in ../shared/data/mnist")
def test_mnist_is_read_with_over_99_3_percent(tmp_path):
    from datasets import load_dataset

    rows = load_dataset(str(MNIST))
    train, test = (
        ImageData.from_array(
            np.stack([np.asarray(image) for image in rows[split]["image"]])[:, None], rows[split]["label"]
        )
        for split in ("train", "test")
    )
    train_ruler(Splits(train, test), tmp_path / "mnist.safetensors")
    assert accuracy(load(tmp_path / "mnist.safetensors"), test) > 0.993
