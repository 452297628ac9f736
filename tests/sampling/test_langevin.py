"""Langevin dynamics: its arithmetic is followed exactly, and its failure and cure are shown on a mixture."""

import math

import pytest
import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel, Prediction, Schedule
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.ladder import langevin_epsilon, variance_left
from unstir.diffusion.schedule import ladder, linear, vp
from unstir.errors import InputError
from unstir.sampling import AnnealedLangevin, Noise, grid, langevin, sample
from unstir.sampling.langevin import updated


def gaussian(std: float) -> GaussianMixtureDenoiser:
    return GaussianMixtureDenoiser(torch.zeros(1, 1), torch.tensor([std]), torch.ones(1))


class Impulses:
    """Noise that is 1 for image i at call i alone: what comes out are the weights of a linear sampler's noises."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, like: Tensor) -> Tensor:
        z = torch.zeros_like(like)
        z[self.calls] = 1
        self.calls += 1
        return z


def test_the_update_is_the_papers() -> None:
    x, score, z = torch.randn(3, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(updated(x, score, torch.tensor(0.04), z), x + 0.02 * score + 0.2 * z)
    each = updated(x, score, torch.tensor([0.04, 0.25, 1.0, 4.0]), z)
    torch.testing.assert_close(each[1], x[1] + 0.125 * score[1] + 0.5 * z[1])


@pytest.mark.parametrize("step", [0.01, 0.3, 0.9])
def test_the_stationary_variance_is_that_of_the_discretization(step: float) -> None:
    """On N(0, v) the fixed point of (1 - a / 2v)^2 s + a is v / (1 - a / 4v), not v."""
    level = ladder(10, 0.1, 1.0).level(4)
    variance = 0.5**2 + level.sigma.item() ** 2
    updates = math.ceil(15 * variance / step) + 20
    weights = langevin(gaussian(0.5), torch.zeros(updates, 1).double(), level, step, updates, Impulses())
    expected = variance / (1 - step / (4 * variance))
    assert (weights**2).sum().item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("updates", [1, 5])
@pytest.mark.parametrize("epsilon", [None, 0.05])
def test_annealing_leaves_the_variance_that_the_rule_expects(epsilon: float | None, updates: int) -> None:
    """On data that are one point: noise of the level before goes in, s_T^2 comes out, level by level."""
    schedule = ladder(8, 0.02, 2.0)
    levels = grid(schedule, 8)[:-1]
    chosen = langevin_epsilon(schedule.ratio, updates) if epsilon is None else epsilon
    variance = 1.0
    for i in range(8):
        variance *= 1 if i == 0 else schedule.ratio**2  # in units of the level's own
        variance = variance_left(math.sqrt(variance), chosen, updates)
    calls = 8 * updates
    x = torch.zeros(calls + 1, 1).double()
    x[-1] = 2.0  # the start's own share
    noise = Impulses()
    out = sample(gaussian(0.0), x, levels, AnnealedLangevin(updates, epsilon), noise)
    assert noise.calls == calls
    assert (out**2).sum().item() == pytest.approx(0.02**2 * variance, rel=1e-7)


def test_annealed_langevin_is_the_papers_algorithm() -> None:
    """Song and Ermon 2019, algorithm 1, counted from the noisiest level; then Song and Ermon 2020's denoising."""
    schedule, updates, epsilon = ladder(6, 0.05, 3.0), 3, 2e-4
    mixture = GaussianMixtureDenoiser(
        torch.tensor([[-1.0, 0.2], [0.8, 0.5]]), torch.tensor([0.1, 0.3]), torch.ones(2)
    )
    start, *noises = torch.randn(1 + 6 * updates, 7, 2, generator=torch.Generator().manual_seed(0)).double()
    x, left = 3 * start, iter(noises)
    for n in range(6, 0, -1):
        level = schedule.level(n)
        a = epsilon * level.sigma**2 / 0.05**2
        for _ in range(updates):
            x = x + a / 2 * mixture(x, level).score + a.sqrt() * next(left)
    expected = x + 0.05**2 * mixture(x, schedule.level(1)).score
    left = iter(noises)
    sampler = AnnealedLangevin(updates, epsilon / 0.05**2)
    out = sample(mixture, 3 * start, grid(schedule, 6), sampler, lambda _: next(left))
    torch.testing.assert_close(out, expected)


def draws() -> Noise:
    generator = torch.Generator().manual_seed(0)
    return lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype)


def weight_left(x: Tensor) -> float:
    return float((x[:, 0] < 0).double().mean())


MIXTURE = GaussianMixtureDenoiser(
    torch.tensor([[-4.0, -4.0], [4.0, 4.0]]), torch.tensor([0.7, 0.7]), torch.tensor([0.8, 0.2])
)


def test_plain_langevin_keeps_the_weights_of_its_start_and_annealed_finds_the_mixtures() -> None:
    noise = draws()
    start = 4 * noise(torch.empty(4000, 2))
    level = ladder(30, 0.1, 12.0).level(1)
    plain = langevin(MIXTURE, start, level, 0.2, 500, noise)
    assert abs(weight_left(plain) - 0.8) > 0.2
    # It is at home in each of the modes: only their weights are wrong.
    for side in (plain[plain[:, 0] < 0] + 4, plain[plain[:, 0] > 0] - 4):
        assert side.std().item() == pytest.approx((0.7**2 + 0.1**2) ** 0.5, rel=0.1)
    levels = grid(ladder(30, 0.1, 12.0), 30)
    annealed = sample(MIXTURE, 12 * noise(start), levels, AnnealedLangevin(60, 0.3), noise)
    assert abs(weight_left(annealed) - 0.8) < 0.03


@pytest.mark.parametrize("schedule", [linear(), vp()], ids=["linear", "vp"])
def test_it_works_where_variance_is_preserved(schedule: Schedule) -> None:
    mixture = GaussianMixtureDenoiser(
        torch.tensor([[-0.8, -0.8], [0.8, 0.8]]), torch.tensor([0.15, 0.15]), torch.tensor([0.8, 0.2])
    )
    noise = draws()
    x = sample(mixture, noise(torch.empty(3000, 2)), grid(schedule, 60), AnnealedLangevin(30), noise)
    assert abs(weight_left(x) - 0.8) < 0.04
    assert (x[x[:, 0] < 0] + 0.8).std().item() == pytest.approx(0.15, rel=0.2)


def test_the_network_is_asked_for_each_update_and_once_more() -> None:
    asked: list[float] = []

    def counted(x: Tensor, level: NoiseLevel) -> Prediction:
        asked.append(round(float(level.t) * 5))
        return Prediction.from_x0(x / 2, x, level)

    sample(counted, torch.ones(1, 1), grid(ladder(5), 5), AnnealedLangevin(updates=2), torch.randn_like)
    assert asked == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 1]


@pytest.mark.parametrize("options", [{"updates": 0}, {"epsilon": 0.0}, {"epsilon": 4.0}, {"epsilon": math.nan}])
def test_impossible_options_are_refused(options: dict) -> None:
    with pytest.raises(InputError, match="langevin"):
        AnnealedLangevin(**options)
