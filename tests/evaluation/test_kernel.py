import numpy as np
import pytest
import torch

from unstir.evaluation.kernel import kernel_distances, kernel_interval

RANDOM = np.random.default_rng(0)
REAL, SAMPLES = RANDOM.normal(size=(220, 12)), RANDOM.normal(size=(190, 12)) * 0.8 + 0.3


def test_it_is_torch_fidelitys():
    from torch_fidelity.metric_kid import kid_features_to_metric

    theirs = kid_features_to_metric(
        *map(torch.from_numpy, (SAMPLES, REAL)), kid_subsets=20, kid_subset_size=100, verbose=False
    )
    ours = kernel_distances(REAL, SAMPLES, subsets=20, size=100)
    assert ours.mean() == pytest.approx(theirs["kernel_inception_distance_mean"], abs=1e-6)
    assert ours.std() == pytest.approx(theirs["kernel_inception_distance_std"], abs=1e-6)
    assert ours.mean() > 0.05


def test_it_is_unbiased():
    # Of equal distributions the mean is 0, at any size, where the biased one would be far above.
    random = np.random.default_rng(1)
    for size in (4, 16):
        many = [kernel_distances(*random.normal(size=(2, size, 6)), 1, size)[0] for _ in range(500)]
        assert abs(np.mean(many)) < 3 * np.std(many) / 500**0.5
    # With two means it is what the kernel's expectation says: E k = E (a.b / F + 1)^3, here of one dimension.
    many = [
        kernel_distances(random.normal(size=(8, 1)), random.normal(size=(8, 1)) + 1, 1, 8)[0] for _ in range(1500)
    ]
    # a, b ~ N(m, 1), N(n, 1): E (ab + 1)^3 = E[a^3]E[b^3] + 3 E[a^2]E[b^2] + 3 mn + 1, of m 4 and 0, 2 and 1.
    shifted, same, between = 4 * 4 + 3 * 2 * 2 + 3 + 1, 3 + 1, 3 * 2 + 1
    assert np.mean(many) == pytest.approx(shifted + same - 2 * between, abs=3 * np.std(many) / 1500**0.5)


def test_the_interval_is_as_wide_as_new_draws_spread():
    random = np.random.default_rng(2)

    def draw() -> np.ndarray:
        return random.normal(size=(200, 12)) * 0.8 + 0.3

    values = [kernel_distances(REAL, draw(), 1, 200)[0] for _ in range(200)]
    low, high = kernel_interval(REAL, draw(), 1.0)
    assert low < 1 < high
    assert (high - low) / np.subtract(*np.quantile(values, (0.975, 0.025))) == pytest.approx(1, abs=0.4)
