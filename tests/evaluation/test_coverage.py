from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unstir.data.dataset import Splits
from unstir.evaluation import coverage as module
from unstir.evaluation.coverage import Surroundings, effective_classes
from unstir.evaluation.measure import measure
from unstir.models.samples import Samples


def precise(real: np.ndarray, samples: np.ndarray) -> np.ndarray:
    return Surroundings(real).of(samples, ["precision"])["precision"]


def recall(real: np.ndarray, samples: np.ndarray, neighbours: int = 3) -> float:
    return float(Surroundings(real, neighbours).of(samples, ["recall"])["recall"].mean())


def dense(real: np.ndarray, samples: np.ndarray) -> np.ndarray:
    return Surroundings(real).of(samples, ["density"])["density"]


def covered(real: np.ndarray, samples: np.ndarray) -> np.ndarray:
    return Surroundings(real).of(samples, ["coverage"])["coverage"]


def on_a_line(*places: float) -> np.ndarray:
    return np.array(places, dtype=np.float64)[:, None]


def test_recall_by_hand():
    samples = on_a_line(0, 1, 2, 4, 10)
    # The third nearest of the others: of 0, 4; of 1, 3; of 2, 2; of 4, 4; of 10, 9.
    assert recall(on_a_line(-4, -4.01), samples) == 0.5
    assert recall(on_a_line(0.5, 3, 19, 19.01, 30), samples) == pytest.approx(3 / 5)
    # With one neighbour: 1, 1, 1, 2, 6.
    assert recall(on_a_line(-1, -1.01, 3.5, 16, 16.01), samples, neighbours=1) == pytest.approx(3 / 5)


def test_recall_is_of_real_images_within_reach_of_samples_and_not_the_other_way():
    near, far = np.random.default_rng(0).normal(size=(2, 200, 4))
    real = np.concatenate([near, far + 100])
    assert recall(real, near) == pytest.approx(0.5)  # half of the data is left out
    assert recall(near, real) == 1.0  # samples that are too varied leave nothing out


def test_equal_clouds_recall_everything_and_copies_reach_nowhere():
    real = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    assert recall(real, real) == 1.0
    collapsed = np.repeat(real[:1], 50, axis=0)
    assert recall(real, collapsed) == 1 / 50


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="no 3 neighbours"):
        recall(on_a_line(0), on_a_line(0, 1, 2))


def test_precision_and_recall_are_torch_fidelitys():
    from torch_fidelity.metric_prc import prc_features_to_metric

    random = np.random.default_rng(0)
    real, samples = random.normal(size=(150, 4)), random.normal(size=(130, 4)) * 0.7 + 0.3
    theirs = prc_features_to_metric(torch.from_numpy(samples), torch.from_numpy(real), verbose=False)
    ours = precise(real, samples).mean(), recall(real, samples)
    assert ours == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-6)
    assert ours[0] > ours[1] + 0.1  # so that one could not stand for the other


def test_density_and_coverage_by_their_definitions():
    random = np.random.default_rng(1)
    real, samples = random.normal(size=(90, 3)), random.normal(size=(70, 3)) * 0.6 + 0.4
    to_real = np.linalg.norm(real[:, None] - real, axis=2)
    reach = np.sort(to_real, axis=1)[:, 5]  # the first is its own, 0
    inside = np.linalg.norm(real[:, None] - samples, axis=2) <= reach[:, None]
    assert dense(real, samples).tolist() == (inside.sum(0) / 5).tolist()
    assert covered(real, samples).tolist() == inside.any(1).tolist()
    assert 0.3 < covered(real, samples).mean() < 0.95 and dense(real, samples).mean() > 1.1
    # Samples at one place are dense there and cover little, and far ones do neither.
    one = np.repeat(real[:1], 50, axis=0)
    assert dense(real, one).mean() >= 1 / 5 and covered(real, one).mean() < 0.3
    assert dense(real, one + 100).mean() == covered(real, one + 100).mean() == 0


def test_blocks_change_nothing(monkeypatch):
    random = np.random.default_rng(2)
    real, samples = random.normal(size=(61, 3)), random.normal(size=(47, 3)) * 0.6
    names = ("precision", "recall", "density", "coverage")

    def found() -> list[list[float]]:
        return [each.tolist() for each in Surroundings(real).of(samples, names).values()]

    whole = found()
    assert whole[0] == precise(real, samples).tolist() and whole[3] == covered(real, samples).tolist()
    for most in (1, 61 * 7):
        monkeypatch.setattr(module, "_DISTANCES", most)
        assert found() == whole


def test_equal_images_are_within_a_reach_of_nothing():
    """Three times the same image reach no further than themselves, which rounding must not make less."""
    random = np.random.default_rng(3)
    real = (1000 + 10 * random.normal(size=(40, 300))).astype(np.float32)
    real = np.concatenate([np.repeat(real[:10], 6, axis=0), real])
    found = Surroundings(real).of(real[:60], ["precision", "density", "coverage"])
    assert found["precision"].all() and found["density"].min() >= 1 and found["coverage"][:70].all()
    near = real[:60] * np.float32(1 + 1e-5)
    assert not Surroundings(real).of(near, ["coverage"])["coverage"][:60].any()


def test_effective_classes():
    assert effective_classes(np.full(10, 0.1)) == pytest.approx(10)
    assert effective_classes(np.array([0.0, 1.0, 0.0])) == 1
    assert effective_classes(np.array([0.5, 0.5, 0.0])) == pytest.approx(2)
    skewed = effective_classes(np.array([0.9, 0.1]))
    assert skewed == pytest.approx(math.exp(-0.9 * math.log(0.9) - 0.1 * math.log(0.1)))


def stream(images: torch.Tensor, labels: torch.Tensor | None, size: int) -> list[Samples]:
    """Return samples as they are drawn, in batches, the last first."""
    rows = [range(first, min(first + size, len(images))) for first in range(0, len(images), size)]
    parts = [Samples(images[r], None if labels is None else labels[r], indices=r) for r in map(list, rows)]
    return parts[::-1]


def test_what_is_left_out_is_measured(digits: Splits) -> None:
    images, told = digits.held_out.examples(np.arange(360))
    labels = torch.as_tensor(told["label"])
    wanted = ["recall", "classes"]
    report = measure([Samples(images, labels)], digits, wanted, progress=False)
    assert report["recall"] == 1 and 9.5 < report["classes"] <= 10
    assert 0.7 < report["recall_ceiling"] < 1
    assert "fcd" not in report
    threes = images[labels == 3]
    narrow = measure([Samples(threes)], digits, wanted, progress=False)
    assert narrow["recall"] < 0.3 and narrow["classes"] < 1.5
    once = measure([Samples(images[:1].repeat(360, 1, 1, 1))], digits, wanted, progress=False)
    assert once["recall"] <= 2 / 360 and once["classes"] < 1.1


def test_recall_is_of_the_first_samples_whatever_the_batches(digits: Splits, monkeypatch) -> None:
    monkeypatch.setattr("unstir.evaluation.measure.RECALLED", 100)
    images, _ = digits.train.examples(np.arange(250))
    whole = measure([Samples(images)], digits, ["recall"], progress=False)
    assert measure(stream(images, None, 64), digits, ["recall"], progress=False) == whole
    first = measure([Samples(images[:100])], digits, ["recall"], progress=False)
    assert first["recall"] == whole["recall"]


def test_too_few_samples_for_recall_are_said_to_be(digits: Splits) -> None:
    images, _ = digits.train.examples(np.arange(3))
    report = measure([Samples(images)], digits, ["recall", "classes"], progress=False)
    assert "recall" not in report and "recall_ceiling" not in report
    assert report["recall_absent"] == "3 samples are too few; 4 is the least"
