"""The rules for the ladder against the numbers of their paper (Song and Ermon 2020, table 1 of the appendix)."""

import math
from statistics import NormalDist

import pytest
import torch

from unstir.diffusion.ladder import fitted_ladder, langevin_epsilon, largest_distance, level_ratio, variance_left
from unstir.errors import InputError

PAPER = {  # dimension, sigma_1 and L on pixels in [0, 1], T, and the paper's epsilon where sigma_L is 0.01
    "cifar10": (3 * 32**2, 50, 232, 5, 6.2e-6),
    "celeba": (3 * 64**2, 90, 500, 5, 3.3e-6),
    "bedroom": (3 * 128**2, 190, 1086, 3, 1.8e-6),
    "ffhq": (3 * 256**2, 348, 2311, 3, 0.9e-6),
}


@pytest.mark.parametrize("dimension", [5, 64, 784, 3072, 196_608])
def test_the_ratio_solves_the_papers_condition(dimension: int) -> None:
    gamma, phi, root = level_ratio(dimension), NormalDist().cdf, math.sqrt(2 * dimension)
    overlap = phi(root * (gamma - 1) + 3 * gamma) - phi(root * (gamma - 1) - 3 * gamma)
    assert gamma > 1 and overlap == pytest.approx(0.5, abs=1e-8)


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_ladders_are_a_little_finer(name: str) -> None:
    """The paper's condition holds only about: its own ladders overlap by 0.57, and have 6 % more levels."""
    dimension, sigma_max, levels, _, _ = PAPER[name]
    ours = 1 + math.log(sigma_max / 0.01) / math.log(level_ratio(dimension))
    assert levels / ours == pytest.approx(1.06, abs=0.005)


@pytest.mark.parametrize("name", PAPER)
def test_epsilon_is_the_papers(name: str) -> None:
    _, sigma_max, levels, updates, epsilon = PAPER[name]
    ratio = (sigma_max / 0.01) ** (1 / (levels - 1))
    assert langevin_epsilon(ratio, updates) / 2 * 0.01**2 == pytest.approx(epsilon, abs=0.05e-6)


@pytest.mark.parametrize("ratio", [1.001, 1.04, 1.5, 10.0, 1e6])
@pytest.mark.parametrize("updates", [1, 3, 20])
def test_epsilon_leaves_the_variance_nearest_to_one(ratio: float, updates: int) -> None:
    best = langevin_epsilon(ratio, updates)
    least = variance_left(ratio, best, updates)
    assert 0 < best < 2 and least > 1
    assert all(variance_left(ratio, best * i / 50, updates) >= least - 1e-9 for i in range(1, int(100 / best)))


def test_the_largest_distance_is_found_across_blocks() -> None:
    data = torch.randn(57, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data[3], data[50] = 4, -4
    expected = 8 * math.sqrt(6)
    for block in (1, 10, 57, 1000):
        assert largest_distance(data, block) == pytest.approx(expected)


def test_a_fitted_ladder_spans_the_data() -> None:
    data = torch.zeros(3, 1, 28, 28)
    data[0], data[1] = -1, 1
    schedule = fitted_ladder(data, sigma_min=0.05)
    top, below = schedule.level(schedule.steps).sigma, schedule.level(schedule.steps - 1).sigma
    assert below < 2 * 28 <= top
    assert schedule.level(1).sigma.item() == pytest.approx(0.05)
    assert schedule.ratio == level_ratio(784)


def test_images_that_are_all_the_same_have_no_ladder() -> None:
    with pytest.raises(InputError, match="farther apart than sigma_min"):
        fitted_ladder(torch.full((3, 1, 28, 28), 0.5))


def test_few_dimensions_have_no_ratio() -> None:
    with pytest.raises(InputError, match="In 2 dimensions"):
        level_ratio(2)
