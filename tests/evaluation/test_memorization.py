import numpy as np
import pytest

from unstir.evaluation.memorization import Nearest

RANDOM = np.random.default_rng(0)
TRAINING = RANDOM.normal(size=(300, 16))


def nearest(features: np.ndarray, batch: int = 300) -> Nearest:
    found = Nearest(features)
    for start in range(0, len(TRAINING), batch):
        found.add(TRAINING[start : start + batch])
    return found


def test_planted_copies_are_found_and_new_images_are_not():
    held_out, near = RANDOM.normal(size=(80, 16)), TRAINING[:40] + 0.05 * RANDOM.normal(size=(40, 16))
    assert nearest(held_out).copies().mean() == 0
    samples = np.concatenate([held_out[:40], near, TRAINING[100:120]])
    assert nearest(samples).copies().tolist() == [False] * 40 + [True] * 60


@pytest.mark.parametrize("batch", [1, 7, 300])
def test_the_ratio_by_all_distances_at_once(batch):
    x = RANDOM.normal(size=(50, 16))
    all_distances = np.linalg.norm(x[:, None] - TRAINING, axis=2)
    distances = np.sort(all_distances, axis=1)
    found = nearest(x, batch)
    np.testing.assert_allclose(found.distances, distances[:, :2], rtol=1e-12)
    np.testing.assert_array_equal(found.rows, np.argsort(all_distances, axis=1)[:, :2])
    np.testing.assert_allclose(found.ratios(), distances[:, 0] / distances[:, 1], rtol=1e-12)
    # Of two processes each sees half.
    halves = Nearest(x), Nearest(x)
    for i, half in enumerate(halves):
        half.add(TRAINING[i::2])
    halves[0].merge(halves[1].distances)
    np.testing.assert_array_equal(halves[0].distances, found.distances)


def test_the_ratio_is_of_distances_and_not_of_their_squares():
    line = np.array([[0.0], [1.0]])
    for place, copy in ((0.24, True), (0.26, False)):  # 0.24 / 0.76 < 1/3 < 0.26 / 0.74
        found = Nearest(np.array([[place]]))
        found.add(line)
        assert found.copies().tolist() == [copy]


def test_a_copy_of_what_is_in_the_set_twice_is_one():
    found = Nearest(TRAINING[:1] + 1000)  # far from 0, where products are not exact
    found.add(np.concatenate([TRAINING, TRAINING[:1]]) + 1000)
    assert found.distances.tolist() == [[0.0, 0.0]] and found.copies().tolist() == [True]
