import numpy as np
import pytest
import torch

from unstir.evaluation.inception_score import inception_scores, score_interval


def probabilities(count: int, classes: int, sharpness: float, seed: int = 0) -> np.ndarray:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(count, classes)) * sharpness)
    return logits.softmax(1).numpy()


def test_it_is_torch_fidelitys():
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(503, 20)) * 3)
    theirs = isc_features_to_metric(logits)
    ours = inception_scores(logits.softmax(1).numpy())
    assert ours.mean() == pytest.approx(theirs["inception_score_mean"], abs=1e-6)
    assert ours.std() == pytest.approx(theirs["inception_score_std"], abs=1e-6)


def test_it_is_the_number_of_classes_that_are_surely_there():
    sure = np.tile(np.eye(10), (100, 1))
    assert inception_scores(sure, splits=1)[0] == pytest.approx(10)
    assert inception_scores(np.eye(3)[np.arange(300) % 3], splits=1)[0] == pytest.approx(3)
    assert inception_scores(np.full((100, 10), 0.1), splits=1)[0] == pytest.approx(1)  # unsure of all
    assert inception_scores(np.repeat(sure[:1], 100, axis=0), splits=1)[0] == pytest.approx(1)  # one picture


def test_the_interval_is_as_wide_as_new_draws_spread():
    values = [inception_scores(probabilities(400, 8, 2, seed), splits=1)[0] for seed in range(200)]
    low, high = score_interval(probabilities(400, 8, 2, 999), 3.0)
    assert low < 3 < high
    assert (high - low) / np.subtract(*np.quantile(values, (0.975, 0.025))) == pytest.approx(1, abs=0.3)
