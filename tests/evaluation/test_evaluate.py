from dataclasses import replace

import numpy as np
import pytest
import torch

from unstir.data.dataset import Splits
from unstir.errors import InputError
from unstir.evaluation.classifier import classifier_for
from unstir.evaluation.evaluate import measure
from unstir.evaluation.metrics import METRICS


@pytest.fixture(scope="module")
def real(digits):
    """The held-out digits as samples: (images, labels)."""
    return digits.held_out.batch(np.arange(len(digits.held_out)))


def test_held_out_images_score_perfectly(digits, real):
    report = measure(*real, digits, progress=False)
    assert report["fcd"] < 1e-6
    assert report["accuracy"] == report["classifier_accuracy"] == classifier_for(digits).accuracy
    assert report["confidence"] > 0.9
    assert report["samples"] == report["reference_images"] == 360
    assert "accuracy_absent" not in report


def test_wrong_labels_score_nothing(digits, real):
    images, labels = real
    report = measure(images, (labels + 1) % 10, digits, ["accuracy"], progress=False)
    assert report["accuracy"] < 0.02
    assert "fcd" not in report and "fcd_floor" not in report
    half = torch.where(torch.arange(360) < 180, labels, (labels + 1) % 10)
    assert measure(images, half, digits, ["accuracy"], False)["accuracy"] == pytest.approx(0.5, abs=0.02)


def test_fcd_ranks_noise_blur_and_real_digits(digits):
    images, _ = digits.train.batch(np.arange(360))
    noise = torch.rand(360, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    blurred = (images + torch.nn.functional.avg_pool2d(images, 3, stride=1, padding=1)) / 2
    reports = [measure(x, None, digits, ["fcd"], progress=False) for x in (images, blurred, noise)]
    good, worse, worst = (report["fcd"] for report in reports)
    assert worst > 2 * worse > 10 * good
    assert good < 3 * reports[0]["fcd_floor"]
    # The floor belongs to the set and the number of samples, not to the samples.
    assert reports[0]["fcd_floor"] == reports[2]["fcd_floor"] > 0


def test_a_missing_class_is_seen(digits, real):
    images, labels = real
    without = images[labels != 3]
    assert measure(without, None, digits, ["fcd"], False)["fcd"] > 1e-3


def test_more_samples_than_training_images(digits, real):
    many = real[0].repeat(5, 1, 1, 1)
    report = measure(many, None, digits, ["fcd"], progress=False)
    assert report["samples"] == 1800 and report["fcd_floor"] > 0


def test_samples_are_read_as_they_would_be_saved(digits, real):
    images, labels = real
    rough = images * 1.0 + 0.3 / 127.5 * torch.sign(torch.randn_like(images))  # less than half a level away
    assert measure(rough, labels, digits, progress=False)["fcd"] < 1e-6
    loud = torch.where(images == 1, 7.0, images)
    assert measure(loud, labels, digits, progress=False)["fcd"] < 1e-6


def test_without_labels_accuracy_is_absent_with_a_reason(digits, real):
    report = measure(real[0], None, digits, list(METRICS), progress=False)
    assert "accuracy" not in report
    assert "without labels" in report["accuracy_absent"]
    assert report["confidence"] > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ["fdc"]}, "did you mean 'fcd'"),
        ({"samples": torch.zeros(4, 1, 8, 9)}, r"\(4, 1, 8, 9\)"),
        ({"samples": torch.zeros(1, 8, 8)}, r"\(N, 1, 8, 8\)"),
        ({"samples": torch.zeros(1, 1, 8, 8)}, "too few"),
        ({"samples": torch.full((4, 1, 8, 8), float("nan"))}, "NaN"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "as many labels"),
        ({"labels": torch.full((4,), 10)}, "0 to 9"),
        ({"labels": torch.zeros(4)}, "class indices"),
    ],
)
def test_wrong_inputs_are_named_before_any_training(digits, monkeypatch, change, message):
    monkeypatch.setattr("unstir.evaluation.evaluate.classifier_for", None)
    given = {"samples": torch.zeros(4, 1, 8, 8), "labels": None, "metrics": ["fcd"]} | change
    with pytest.raises(InputError, match=message):
        measure(given["samples"], given["labels"], digits, given["metrics"], progress=False)


def test_unlabelled_set_is_refused(digits):
    plain = Splits(*(replace(part, labels=None, classes=()) for part in (digits.train, digits.held_out)))
    with pytest.raises(InputError, match="fcd need a labelled set"):
        measure(torch.zeros(4, 1, 8, 8), None, plain, ["fcd"], progress=False)
