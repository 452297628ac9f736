from __future__ import annotations

import numpy as np
import pytest

from unstir.data.order import order


def test_each_epoch_is_another_permutation() -> None:
    epochs = order(97, 5, 0, 97 * 4).reshape(4, 97)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(97))
    assert len({tuple(epoch) for epoch in epochs}) == 4


@pytest.mark.parametrize(("start", "count"), [(0, 10), (95, 7), (90, 300), (193, 1), (10**12, 40), (3, 0)])
def test_what_lies_at_a_position_depends_on_it_alone(start: int, count: int) -> None:
    single = [order(97, 5, position, 1)[0] for position in range(start, start + count)]
    np.testing.assert_array_equal(order(97, 5, start, count), np.array(single, dtype=np.int64))


def test_a_result_is_the_callers_own() -> None:
    first = order(50, 1, 0, 50)
    first[:] = 0
    np.testing.assert_array_equal(np.sort(order(50, 1, 0, 50)), np.arange(50))


def test_seed_and_epoch_both_count_and_are_not_interchangeable() -> None:
    def epoch(seed: int, number: int) -> tuple[int, ...]:
        return tuple(order(60, seed, 60 * number, 60))

    orders = {epoch(seed, number) for seed in range(4) for number in range(4)}
    assert len(orders) == 16


def test_every_image_is_equally_likely_everywhere() -> None:
    firsts = order(8, 2, 0, 8 * 2000).reshape(2000, 8)[:, 0]
    counts = np.bincount(firsts, minlength=8)
    assert ((counts - 250) ** 2 / 250).sum() < 24.3  # chi-squared, 7 degrees of freedom: one in a thousand


def test_one_image_repeats() -> None:
    np.testing.assert_array_equal(order(1, 0, 7, 3), [0, 0, 0])


@pytest.mark.parametrize("wrong", [(0, 0, 0, 1), (5, -1, 0, 1), (5, 0, -1, 1), (5, 0, 0, -1)])
def test_numbers_out_of_range(wrong: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="order needs"):
        order(*wrong)
