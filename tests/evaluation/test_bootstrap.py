import numpy as np
import pytest

from unstir.evaluation.bootstrap import RESAMPLES, interval, of_mean, weights


def test_each_resample_is_as_large_as_the_set():
    found = weights(37)
    assert found.shape == (RESAMPLES, 37) and set(found.sum(1)) == {37.0}
    assert found.mean() == 1 and found.var() == pytest.approx(1 - 1 / 37, rel=0.05)
    assert (found == weights(37)).all() and not (found == weights(37, seed=1)).all()


def test_the_interval_of_a_mean_is_its_standard_errors():
    values = np.random.default_rng(0).normal(size=400) * 3 + 5
    low, high = of_mean(values)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.15)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.05)
    assert of_mean(np.ones(9, dtype=bool)) == (1.0, 1.0)


def test_a_bias_of_the_replicates_is_taken_away():
    replicates = np.random.default_rng(0).normal(size=500)
    assert interval(2.0, replicates + 100) == pytest.approx(interval(2.0, replicates))
    low, high = interval(2.0, replicates)
    assert low == pytest.approx(2 - 1.96, abs=0.2) and high == pytest.approx(2 + 1.96, abs=0.2)
