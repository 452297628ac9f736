"""Known pixels are put in before each question, jumps are the paper's, and the hidden half comes out right."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel, Prediction
from unstir.diffusion.schedule import linear
from unstir.errors import InputError
from unstir.sampling import SeededNoise, grid, jumps, sample, samplers, trajectory
from unstir.sampling.config import SamplingConfig
from unstir.sampling.draw import Course
from unstir.sampling.inpainting import Replacement, paste

HIDDEN = torch.tensor([False, False, True, True])
COVARIANCE = 0.25 * 0.9 ** (torch.arange(4.0).double()[:, None] - torch.arange(4)).abs()
GAIN = COVARIANCE[2:, :2] @ torch.linalg.inv(COVARIANCE[:2, :2])
"""The conditional of the hidden half h given the known k: N(GAIN k, LEFT)."""
LEFT = COVARIANCE[2:, 2:] - GAIN @ COVARIANCE[:2, 2:]


def correlated(x: Tensor, level: NoiseLevel) -> Prediction:
    """The exact denoiser of N(0, COVARIANCE)."""
    noised = level.alpha**2 * COVARIANCE + level.sigma**2 * torch.eye(4)
    return Prediction.from_x0(x @ (level.alpha * torch.linalg.solve(noised, COVARIANCE)), x, level)


def drawn(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=generator, dtype=torch.float64) @ torch.linalg.cholesky(COVARIANCE).T


def normal(seed: int):
    generator = torch.Generator().manual_seed(seed)
    return lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype)


def errors(known: Tensor, filled: Tensor) -> tuple[float, float]:
    """Return how far the hidden half's gain on the known one and its covariance are from the conditional's."""
    gain = torch.linalg.lstsq(known[:, :2], filled[:, 2:]).solution.T
    rest = filled[:, 2:] - known[:, :2] @ gain.T
    covariance = rest.T @ rest / len(rest)
    return float((gain - GAIN).norm() / GAIN.norm()), float((covariance - LEFT).norm() / LEFT.norm())


def test_the_jumps_are_those_of_the_paper() -> None:
    walked = jumps(range(250, -1, -1))
    falls = [(here, there) for here, there in pairwise(walked) if there < here]
    assert (len(walked), len(falls)) == (4571, 2410)
    assert all(abs(here - there) == 1 for here, there in pairwise(walked))
    assert (walked[0], walked[-1]) == (250, 0)
    # The paper jumps from n = 1, 11, ..., 231; each is left upwards nine times and once downwards.
    turns = [here for before, here, there in zip(walked, walked[1:], walked[2:]) if before > here < there]
    assert sorted(set(turns)) == list(range(1, 232, 10)) and len(turns) == 9 * 24


def test_jumps_fit_any_grid() -> None:
    levels = grid(linear(), 5)
    assert jumps(levels, resamples=1) == levels and jumps(levels, length=9) == levels
    assert jumps([4, 3, 2, 1, 0], length=2, resamples=2) == [4, 3, 2, 1, 2, 3, 2, 1, 0]
    assert jumps([3, 2, 1, 0], length=1, resamples=2) == [3, 2, 3, 2, 1, 2, 1, 0]
    for wrong in ({"length": 0}, {"resamples": 0}):
        with pytest.raises(InputError, match="is at least 1, not 0"):
            jumps(levels, **wrong)


def test_going_back_and_forth_brings_the_hidden_half_to_its_conditional() -> None:
    known = drawn(1000, 0)
    levels = grid(linear(), 40)

    def filled(walked: list[NoiseLevel], name: str = "ddpm") -> tuple[float, float]:
        solver = samplers[name]().build(linear(), 40)
        noise = normal(1)
        start = noise(known)
        return errors(
            known, sample(correlated, start, walked, Replacement(solver, known, HIDDEN, normal(2)), noise)
        )

    replaced = filled(levels)
    some, more = (filled(jumps(levels, 2, resamples)) for resamples in (3, 12))
    # By replacement alone most of what the known half says is lost; 0 would be the conditional, 1 nothing of it.
    assert replaced[0] > 0.5
    assert more[0] < some[0] - 0.04 < replaced[0] - 0.1
    # A deterministic solver without jumps keeps too much of its start's spread.
    assert filled(jumps(levels, 2, 6), "ddim")[1] < 0.5 * filled(levels, "ddim")[1]


@pytest.mark.parametrize("name", sorted(samplers.known))
def test_every_question_of_every_solver_sees_known_pixels_at_its_level(name: str) -> None:
    """With noise of 1 everywhere, known pixels are alpha x0 + sigma exactly."""
    known = drawn(3, 0)
    walked = jumps(grid(linear(), 6), 2, 2)
    asked: list[NoiseLevel] = []

    def watching(x: Tensor, level: NoiseLevel) -> Prediction:
        expected = level.alpha * known + level.sigma
        # The first level of a solver's own and those it goes to: trajectory's last question too.
        torch.testing.assert_close(x[:, :2], expected[:, :2], rtol=1e-12, atol=1e-12)
        asked.append(level)
        return correlated(x, level)

    solver = samplers[name]().build(linear(), 6)
    noise = SeededNoise([1, 2, 3])
    out = sample(watching, noise(known), walked, Replacement(solver, known, HIDDEN, torch.ones_like), noise)
    assert out.isfinite().all()
    config = SamplingConfig().with_options({"sampler": name, "steps": 6})
    route = lambda levels: jumps(levels, 2, 2)  # noqa: E731
    assert len(asked) == Course(route=route).evaluations(config)
    assert Course().evaluations(config) == config.evaluations


@pytest.mark.parametrize("name", sorted(samplers.known))
def test_where_all_is_hidden_nothing_changes_and_where_nothing_is_the_picture_stays(name: str) -> None:
    known, levels = drawn(3, 0), grid(linear(), 6)
    solver = samplers[name]().build(linear(), 6)

    def walk(sampler) -> Tensor:
        noise = SeededNoise([4, 5, 6])
        return sample(correlated, noise(known), levels, sampler, noise)

    free = Replacement(solver, known, torch.ones(4, dtype=torch.bool), SeededNoise([4, 5, 6], stream=1))
    assert torch.equal(walk(free), walk(solver))
    assert torch.equal(paste(walk(free), known, torch.zeros(4, dtype=torch.bool)), known)


def test_an_image_is_filled_the_same_whatever_its_batch() -> None:
    known, walked = drawn(5, 0), jumps(grid(linear(), 10), 2, 3)

    def fill(rows: list[int]) -> Tensor:
        noise = SeededNoise(rows)
        sampler = Replacement(
            samplers["ddpm"]().build(linear(), 10), known[rows], HIDDEN, SeededNoise(rows, stream=1)
        )
        return sample(correlated, noise(known[rows]), walked, sampler, noise)

    together = fill([0, 1, 2, 3, 4])
    torch.testing.assert_close(fill([3]), together[3:4], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(fill([4, 1]), together[[4, 1]], rtol=1e-10, atol=1e-10)


def test_gradients_reach_what_is_drawn_from() -> None:
    known = drawn(2, 0)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    levels = grid(linear(), 4)
    sampler = Replacement(samplers["ddim"]().build(linear(), 4), known, HIDDEN, torch.zeros_like)
    seen = []

    def watching(x: Tensor, level: NoiseLevel) -> Prediction:
        with torch.enable_grad():
            seen.append(correlated(scale * x, level).x0)
        return correlated(x, level)

    for _ in trajectory(watching, SeededNoise([1, 2])(known), levels, sampler, torch.zeros_like):
        pass
    (slope,) = torch.autograd.grad(sum(x0.sum() for x0 in seen), scale)
    assert slope != 0
