import numpy as np
import pytest
import scipy.linalg
import torch

from unstir.evaluation.frechet import Statistics, distance, frechet_distance, influences


def statistics(features):
    found = Statistics().add(features)
    return found.mean, found.covariance


def spd(random, size, rank=None):
    root = random.normal(size=(size, rank or size))
    return root @ root.T / size


def test_one_dimension_against_closed_form():
    # |m1 - m2|^2 + (s1 - s2)^2
    distance = frechet_distance(np.array([1.0]), np.array([[4.0]]), np.array([-2.0]), np.array([[25.0]]))
    assert distance == pytest.approx(9 + 9, rel=1e-12)


def test_diagonal_against_closed_form():
    random = np.random.default_rng(0)
    m1, m2 = random.normal(size=(2, 7))
    s1, s2 = random.uniform(0.1, 3, size=(2, 7))
    expected = ((m1 - m2) ** 2).sum() + ((s1 - s2) ** 2).sum()
    assert frechet_distance(m1, np.diag(s1**2), m2, np.diag(s2**2)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("size", [2, 16, 64])
def test_against_scipy_matrix_root_and_symmetric(size):
    random = np.random.default_rng(size)
    m1, m2 = random.normal(size=(2, size))
    c1, c2 = spd(random, size), spd(random, size)
    root = scipy.linalg.sqrtm(c1 @ c2)
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * root.real)
    assert frechet_distance(m1, c1, m2, c2) == pytest.approx(expected, rel=1e-7)
    assert frechet_distance(m2, c2, m1, c1) == pytest.approx(frechet_distance(m1, c1, m2, c2), rel=1e-12)


def test_zero_for_identical_full_and_low_rank():
    random = np.random.default_rng(1)
    for rank in (32, 5, 1):
        mean, cov = random.normal(size=32), spd(random, 32, rank)
        assert frechet_distance(mean, cov, mean, cov) < 1e-9 * np.trace(cov)


def test_low_rank_against_closed_form():
    # Two lines at an angle: C1 = a u u', C2 = b v v'; the root's trace is sqrt(a b) |u.v|.
    angle, a, b = 0.7, 3.0, 5.0
    u, v = np.array([1.0, 0.0, 0.0]), np.array([np.cos(angle), np.sin(angle), 0.0])
    expected = a + b - 2 * np.sqrt(a * b) * np.cos(angle)
    zero = np.zeros(3)
    distance = frechet_distance(zero, a * np.outer(u, u), zero, b * np.outer(v, v))
    assert distance == pytest.approx(expected, rel=1e-12)


def test_shared_shift_and_rotation_change_nothing_and_scale_squares():
    random = np.random.default_rng(2)
    x, y = random.normal(size=(50, 6)), random.normal(size=(80, 6)) @ random.normal(size=(6, 6)) + 0.3
    before = frechet_distance(*statistics(x), *statistics(y))
    rotation = np.linalg.qr(random.normal(size=(6, 6)))[0]
    move = random.normal(size=6) * 10
    after = frechet_distance(*statistics(x @ rotation + move), *statistics(y @ rotation + move))
    assert after == pytest.approx(before, rel=1e-9)
    assert frechet_distance(*statistics(3 * x), *statistics(3 * y)) == pytest.approx(9 * before, rel=1e-9)


def test_fewer_samples_than_features():
    random = np.random.default_rng(3)
    x, y = random.normal(size=(10, 64)), random.normal(size=(12, 64))
    (m1, c1), (m2, c2) = statistics(x), statistics(y)
    # The nuclear norm can be taken in sample space as well: ||X Y'||_* / sqrt((n-1)(m-1)).
    cross = np.linalg.svd((x - m1) @ (y - m2).T, compute_uv=False).sum() / np.sqrt(9 * 11)
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * cross
    assert frechet_distance(m1, c1, m2, c2) == pytest.approx(expected, rel=1e-11)


def test_statistics_are_numpys_in_float64():
    features = np.random.default_rng(4).normal(size=(33, 5)).astype(np.float32) + 1000
    mean, cov = statistics(features)
    assert mean.dtype == cov.dtype == np.float64
    np.testing.assert_allclose(mean, features.astype(np.float64).mean(0), rtol=1e-14)
    np.testing.assert_allclose(cov, np.cov(features.astype(np.float64), rowvar=False), rtol=1e-9)


@pytest.mark.parametrize(
    "features", [np.zeros((1, 4)), np.zeros((0, 4)), np.zeros(4), np.array([[1.0, np.nan], [0.0, 1.0]])]
)
def test_statistics_refuse_what_has_none(features):
    with pytest.raises(ValueError):
        statistics(features)


@pytest.mark.parametrize("features", [np.zeros((0, 5)), np.full((2, 5), np.inf)])
def test_refused_features_leave_the_statistics_as_they_were(features):
    found = Statistics().add(FEATURES)
    with pytest.raises(ValueError):
        found.add(features)
    agrees(found, FEATURES)


# A batch at a time, and a process at a time

FEATURES = np.random.default_rng(5).normal(size=(61, 5)) @ np.random.default_rng(6).normal(size=(5, 5)) + 3.0


def agrees(found, features):
    """Whether statistics are numpy's of these features."""
    assert found.count == len(features)
    np.testing.assert_allclose(found.mean, features.mean(0), rtol=1e-12)
    covariance = np.cov(features, rowvar=False)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-12, atol=1e-12 * np.trace(covariance))


@pytest.mark.parametrize("cuts", [[], [1], [60], [1, 2, 3], [20, 40], [7, 8, 50], list(range(1, 61))], ids=str)
def test_features_may_be_added_in_any_batches_and_merged_in_any_split(cuts):
    batches, added = np.split(FEATURES, cuts), Statistics()
    for batch in batches:
        assert added.add(batch) is added
    agrees(added, FEATURES)
    # One for each batch, merged from the last to the first; and two processes that took every other batch.
    merged = Statistics()
    for batch in reversed(batches):
        assert merged.merge(Statistics().add(batch)) is merged
    agrees(merged, FEATURES)
    shares = [Statistics(), Statistics()]
    for i, batch in enumerate(batches):
        shares[i % 2].add(batch)
    agrees(shares[0].merge(shares[1]), FEATURES)


def test_merging_leaves_the_other_as_it_was():
    one, other = Statistics().add(FEATURES[:20]), Statistics().add(FEATURES[20:])
    one.merge(other)
    one.add(FEATURES[:7])
    agrees(other, FEATURES[20:])


def test_an_empty_one_merges_as_nothing():
    agrees(Statistics().add(FEATURES).merge(Statistics()), FEATURES)
    agrees(Statistics().merge(Statistics().add(FEATURES)), FEATURES)
    nothing = Statistics().merge(Statistics())
    assert nothing.count == 0
    agrees(nothing.merge(Statistics()).add(FEATURES), FEATURES)


def test_distance_is_that_of_the_means_and_covariances():
    x, y = FEATURES, FEATURES[:30] * [1, 2, 3, 1, 1] - 0.5
    expected = frechet_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
    assert expected > 1
    assert distance(Statistics().add(x), Statistics().add(y)) == pytest.approx(expected, rel=1e-9)


def test_it_is_torch_fidelitys_fid_on_equal_features():
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    random = np.random.default_rng(7)
    x, y = random.normal(size=(300, 24)), random.normal(size=(260, 24)) * random.uniform(0.5, 2, 24) + 0.2
    theirs = fid_statistics_to_metric(*(fid_features_to_statistics(torch.from_numpy(z)) for z in (x, y)), False)
    ours = distance(Statistics().add(x), Statistics().add(y))
    assert ours == pytest.approx(theirs["frechet_inception_distance"], abs=1e-6) and ours > 1
    assert distance(Statistics().add(x), Statistics().add(x)) < 1e-6


@pytest.mark.parametrize("size", [5, 12])
def test_an_influence_is_what_the_distance_loses_without_its_sample(size):
    random = np.random.default_rng(8)
    x, y = random.normal(size=(400, size)), random.normal(size=(300, size)) * 1.3 + 0.4
    x[:, 0] = x[:, 1] + 1e-9 * x[:, 0]  # near-singular
    samples, real = Statistics().add(x), Statistics().add(y)
    found = influences(x, samples, real)
    assert found.mean() == pytest.approx(0, abs=0.02)
    whole = distance(samples, real)
    without = [distance(Statistics().add(np.delete(x, i, axis=0)), real) for i in range(20)]
    lost = (whole - np.array(without)) * 400
    # But for what all have in common: the distance's bias, which grows as samples get fewer.
    np.testing.assert_allclose(lost - lost.mean(), found[:20] - found[:20].mean(), atol=0.03 * np.abs(found).max())
    assert lost.mean() == pytest.approx(found[:20].mean(), abs=0.3)
    # Of many draws the distances spread as the influences of one say.
    draws = [distance(Statistics().add(random.normal(size=(400, size))), real) for _ in range(60)]
    x = random.normal(size=(400, size))
    error = influences(x, Statistics().add(x), real).std() / 20
    assert np.std(draws) == pytest.approx(error, rel=0.35)
