import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from unstir.data.dataset import Splits
from unstir.errors import InputError
from unstir.evaluation.measure import measure
from unstir.evaluation.metrics import METRICS
from unstir.evaluation.ruler import ruler
from unstir.models.samples import Samples


@pytest.fixture(scope="module")
def real(digits):
    """The held-out digits as samples: (images, labels)."""
    images, told = digits.held_out.examples(np.arange(len(digits.held_out)))
    return images, told["label"]


def figures(images, labels, splits, metrics=tuple(METRICS)):
    return measure([Samples(images, labels, splits.held_out.classes)], splits, metrics, progress=False)


def test_held_out_images_score_perfectly(digits, real):
    report = figures(*real, digits)
    assert report["fcd"] < 1e-6
    images, labels = real
    right = (ruler(digits).classify(images).argmax(1) == labels).double().mean()
    assert report["accuracy"] == report["classifier_accuracy"] == pytest.approx(float(right), rel=1e-12)
    assert report["confidence"] > 0.9
    assert report["samples"] == report["reference_images"] == 360
    assert "accuracy_absent" not in report


def test_wrong_labels_score_nothing(digits, real):
    images, labels = real
    report = figures(images, (labels + 1) % 10, digits, ["accuracy"])
    assert report["accuracy"] < 0.02
    assert "fcd" not in report and "fcd_floor" not in report
    half = torch.where(torch.arange(360) < 180, labels, (labels + 1) % 10)
    assert figures(images, half, digits, ["accuracy"])["accuracy"] == pytest.approx(0.5, abs=0.02)


def test_confidence_is_the_share_read_with_over_nine_tenths(digits, real):
    images = torch.cat([real[0][:40], torch.zeros(60, 1, 8, 8)])
    sure = ruler(digits).classify(torch.cat([real[0][:40], torch.full((60, 1, 8, 8), 1 / 255)])).amax(1) > 0.9
    assert figures(images, None, digits, ["fcd"])["confidence"] == pytest.approx(float(sure.double().mean()))


def test_fcd_ranks_noise_blur_and_real_digits(digits):
    images, _ = digits.train.examples(np.arange(360))
    noise = torch.rand(360, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    blurred = (images + torch.nn.functional.avg_pool2d(images, 3, stride=1, padding=1)) / 2
    reports = [figures(x, None, digits, ["fcd"]) for x in (images, blurred, noise)]
    good, worse, worst = (report["fcd"] for report in reports)
    assert worst > 2 * worse > 10 * good
    assert good < 3 * reports[0]["fcd_floor"]
    # The floor belongs to the set and the number of samples, not to the samples.
    assert reports[0]["fcd_floor"] == reports[2]["fcd_floor"] > 0


def test_a_missing_class_is_seen(digits, real):
    images, labels = real
    without = images[labels != 3]
    assert figures(without, None, digits, ["fcd"])["fcd"] > 1e-3


def test_more_samples_than_training_images(digits, real):
    many = real[0].repeat(5, 1, 1, 1)
    report = figures(many, None, digits, ["fcd"])
    assert report["samples"] == 1800 and "fcd_floor" not in report
    assert report["fcd_floor_absent"].startswith("there are 1,437 training images for 1,800 samples")


def test_samples_are_read_as_they_would_be_saved(digits, real):
    images, labels = real
    rough = images * 1.0 + 0.3 / 127.5 * torch.sign(torch.randn_like(images))  # less than half a level away
    assert figures(rough, labels, digits)["fcd"] < 1e-6
    loud = torch.where(images == 1, 7.0, images)
    assert figures(loud, labels, digits)["fcd"] < 1e-6
    saved = Samples(rough).bytes() / 127.5 - 1
    assert figures(saved, labels, digits)["fcd"] == figures(rough, labels, digits)["fcd"]


def test_without_labels_accuracy_is_absent_with_a_reason(digits, real):
    report = figures(real[0], None, digits, list(METRICS))
    assert "accuracy" not in report
    assert "without labels" in report["accuracy_absent"]
    assert report["confidence"] > 0.9


def test_the_classifier_is_judged_by_held_out_images_whatever_the_reference_is(digits, real):
    usual = figures(*real, digits)
    found = measure([Samples(*real)], digits, progress=False, against="train")
    assert found["classifier_accuracy"] == usual["classifier_accuracy"] and found["accuracy"] == usual["accuracy"]
    assert found["reference_images"] == len(digits.train) and found["fcd"] > 1e-3 > usual["fcd"]
    assert found["fcd_floor"] == pytest.approx(found["fcd"], rel=1e-5)  # held-out images, both


# A stream


@pytest.mark.parametrize("size", [1, 7, 100, 359])
@pytest.mark.parametrize("labelled", [True, False])
def test_a_stream_is_measured_as_one_batch(size, labelled, digits, real):
    order = torch.randperm(360, generator=torch.Generator().manual_seed(0))
    images, labels = real[0][order][:200] * 0.7, (real[1][order][:200] + (torch.arange(200) < 30)) % 10
    whole = figures(images, labels if labelled else None, digits)
    parts = zip(images.split(size), labels.split(size) if labelled else [None] * 200)
    streamed = measure((Samples(*each) for each in parts), digits, progress=False)
    assert streamed.keys() == whole.keys()
    assert whole["samples"] == 200 and whole["fcd"] > 0.01
    for name, value in whole.items():
        assert streamed[name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), name
    if labelled:
        assert 0.6 < whole["accuracy"] < 0.86


def test_a_stream_is_not_kept(digits, real):
    held, most = [], 0

    def stream():
        nonlocal most
        for images in real[0].split(40):
            most = max(most, sum(drawn() is not None for drawn in held))
            drawn = images.clone()
            held.append(weakref.ref(drawn))
            yield Samples(drawn)
            del drawn

    assert measure(stream(), digits, progress=False)["samples"] == 360
    assert len(held) == 9 and most == 1  # the last is in hand while the next is drawn


# What is wrong


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ["fdc"]}, "did you mean 'fcd'"),
        ({"samples": torch.zeros(4, 1, 8, 9)}, r"\(4, 1, 8, 9\)"),
        ({"samples": torch.zeros(1, 8, 8)}, r"\(N, 1, 8, 8\)"),
        ({"samples": torch.full((4, 1, 8, 8), float("nan"))}, "NaN"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "as many labels"),
        ({"labels": torch.full((4,), 10)}, "0 to 9"),
        ({"labels": torch.full((4,), -1)}, "0 to 9"),
        ({"labels": torch.zeros(4)}, "class indices"),
    ],
)
def test_wrong_inputs_are_named_before_any_training(digits, monkeypatch, change, message):
    given = {"samples": torch.zeros(4, 1, 8, 8), "labels": None, "metrics": ["fcd"]} | change
    good, wrong = Samples(torch.zeros(4, 1, 8, 8)), Samples(given["samples"], given["labels"])
    with pytest.raises(InputError, match=message):  # in a stream, when it comes
        measure(iter([good, wrong]), digits, given["metrics"], progress=False)
    monkeypatch.setattr("unstir.evaluation.measure.ruler", None)
    with pytest.raises(InputError, match=message):
        measure([good, wrong], digits, given["metrics"], progress=False)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_samples_are_refused(digits, count, monkeypatch):
    samples = [Samples(torch.zeros(1, 1, 8, 8))] * count
    with pytest.raises(InputError, match=f"{count} samples are too few"):  # of a stream that is known at its end
        measure(iter(samples), digits, progress=False)
    monkeypatch.setattr("unstir.evaluation.measure.ruler", None)
    with pytest.raises(InputError, match=f"{count} samples are too few"):
        measure(samples, digits, progress=False)


def test_unlabelled_set_is_refused(digits, monkeypatch):
    monkeypatch.setattr("unstir.evaluation.measure.ruler", None)
    plain = Splits(*(replace(part, columns={}) for part in (digits.train, digits.held_out)))
    with pytest.raises(InputError, match="fcd need a labelled set"):
        figures(torch.zeros(4, 1, 8, 8), None, plain, ["fcd"])
