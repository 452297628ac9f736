"""Posterior guidance is exact for Gaussian data, correlated or not, of any measurement; a blur is what it says."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel, Prediction
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.schedule import flow, linear
from unstir.errors import InputError
from unstir.sampling import SeededNoise, grid, measured, sample, samplers
from unstir.sampling.posterior import Blur, Mask, blur_matrix

MEAN = torch.linspace(-0.4, 0.5, 6).double()
COVARIANCE = 0.25 * 0.8 ** (torch.arange(6.0).double()[:, None] - torch.arange(6)).abs()
NOISE = 0.1


def gaussian(mean: Tensor, covariance: Tensor) -> Denoise:
    """The exact denoiser of N(mean, covariance), for images (B, 1, 1, n); the mean of one for all, or of each."""

    def denoise(x: Tensor, level: NoiseLevel) -> Prediction:
        noised = level.alpha**2 * covariance + level.sigma**2 * torch.eye(len(covariance))
        gain = level.alpha * torch.linalg.solve(noised, covariance)
        x0 = mean + (x.flatten(1) - level.alpha * mean) @ gain
        return Prediction.from_x0(x0.reshape(x.shape), x, level)

    return denoise


def posterior(y: Tensor, matrix: Tensor) -> Denoise:
    """The exact denoiser given y = A x0 + NOISE n, by the formulae of linear regression."""
    total = matrix @ COVARIANCE @ matrix.T + NOISE**2 * torch.eye(6)
    gain = COVARIANCE @ matrix.T @ torch.linalg.inv(total)
    mean = MEAN + (y.flatten(1) - MEAN @ matrix.T) @ gain.T
    return gaussian(mean, COVARIANCE - gain @ matrix @ COVARIANCE)


HIDDEN = torch.tensor([False, True, True, False, False, True])
MEASUREMENTS = {
    "mask": (Mask(HIDDEN), torch.diag((~HIDDEN).double())),
    "blur": (Blur(1, 6, 0.8), blur_matrix(6, 0.8)),
}


@pytest.mark.parametrize("schedule", [linear(), flow()], ids=["linear", "flow"])
@pytest.mark.parametrize("name", MEASUREMENTS)
def test_the_guided_denoiser_is_the_posteriors_own(name: str, schedule) -> None:
    measurement, matrix = MEASUREMENTS[name]
    y = torch.randn(3, 1, 1, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = measurement(y)
    guided, exact = measured(gaussian(MEAN, COVARIANCE), y, measurement, NOISE, rounds=6), posterior(y, matrix)
    for t in (0.01, 0.2, 0.5, 0.9):
        level = schedule(t)
        x = torch.randn(3, 1, 1, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        found, right = guided(x, level), exact(x, level)
        torch.testing.assert_close(found.x0, right.x0, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(found.eps, right.eps, rtol=1e-6, atol=1e-6)
        # Together they describe the very x.
        torch.testing.assert_close(level.noise(found.x0, found.eps), x)
        assert not found.x0.requires_grad and not found.eps.requires_grad


def test_more_rounds_come_nearer_and_one_is_better_than_none() -> None:
    measurement, matrix = MEASUREMENTS["mask"]
    y = measurement(torch.randn(8, 1, 1, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    level = linear()(0.4)
    x, exact = torch.randn_like(y), posterior(y, matrix)
    right, prior = exact(x, level).x0, gaussian(MEAN, COVARIANCE)
    far = [(measured(prior, y, measurement, NOISE, n)(x, level).x0 - right).norm() for n in (1, 2, 3)]
    assert far[2] < 0.5 * far[1] and far[1] < 0.5 * far[0] and far[0] < 0.9 * (prior(x, level).x0 - right).norm()


@pytest.mark.parametrize("name", sorted(samplers.known))
def test_every_solver_draws_what_it_draws_of_the_exact_posterior(name: str) -> None:
    measurement, matrix = MEASUREMENTS["mask"]
    y = measurement(torch.tensor([[0.5, 0, 0, -0.3, 0.2, 0], [-0.6, 0, 0, 0.1, 0.4, 0]]).double()[:, None, None])
    levels, solver = grid(linear(), 7), samplers[name]().build(linear(), 7)

    def walk(denoise: Denoise, rows: list[int]) -> Tensor:
        noise = SeededNoise(rows)
        return sample(denoise, noise(y[rows]), levels, solver, noise)

    prior = gaussian(MEAN, COVARIANCE)
    found = walk(measured(prior, y, measurement, NOISE, 5), [0, 1])
    torch.testing.assert_close(found, walk(posterior(y, matrix), [0, 1]), rtol=1e-3, atol=1e-4)
    alone = walk(measured(prior, y[1:], measurement, NOISE, 5), [1])  # an image's guidance is its own
    torch.testing.assert_close(alone, found[1:], rtol=1e-8, atol=1e-8)


def test_of_two_modes_the_one_that_was_seen_is_drawn() -> None:
    modes = torch.tensor([[0.8, 0.8, -0.8, -0.8], [-0.8, -0.8, 0.8, 0.8]]).double().reshape(2, 1, 1, 4)
    mixture = GaussianMixtureDenoiser(modes, torch.tensor([0.1, 0.1]), torch.ones(2))
    hidden = torch.tensor([False, True, True, True])
    known = torch.tensor([0.8, 0, 0, 0]).double().reshape(1, 1, 1, 4)
    noise = SeededNoise(range(200))
    guide = measured(mixture, known, Mask(hidden), 0.05)
    x = sample(
        guide,
        noise(torch.zeros(200, 1, 1, 4).double()),
        grid(linear(), 50),
        samplers["ddpm"]().build(linear(), 50),
        noise,
    )
    assert (x[..., 2] < 0).double().mean() > 0.97


def test_nothing_known_changes_nothing() -> None:
    mask = Mask(torch.ones(6, dtype=torch.bool))
    prior, level = gaussian(MEAN, COVARIANCE), linear()(0.5)
    x = torch.randn(2, 1, 1, 6, dtype=torch.float64)
    found, free = measured(prior, torch.zeros_like(x), mask, 0.01)(x, level), prior(x, level)
    assert torch.equal(found.x0, free.x0) and torch.equal(found.eps, free.eps)


@pytest.mark.parametrize("sigma", [0.4, 1.7, 9.0])
def test_a_blur_is_gaussian_and_mirrored_at_the_edges(sigma: float) -> None:
    images = torch.rand(2, 3, 7, 12, dtype=torch.float64)
    right = gaussian_filter(images.numpy(), sigma, mode="reflect", truncate=6, axes=(2, 3))
    torch.testing.assert_close(Blur(7, 12, sigma)(images), torch.tensor(right), rtol=1e-3, atol=1e-6)
    matrix = blur_matrix(7, sigma)
    torch.testing.assert_close(matrix, matrix.T)
    torch.testing.assert_close(matrix.sum(1), torch.ones(7).double())


def test_values_out_of_range_are_refused() -> None:
    for sigma in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="blur is above 0 pixels"):
            Blur(3, 3, sigma)
    for noise, rounds in ((0.0, 1), (0.1, 0)):
        with pytest.raises(InputError, match="noise is above 0"):
            measured(gaussian(MEAN, COVARIANCE), MEAN, Mask(HIDDEN), noise, rounds)


def test_where_nothing_is_left_of_the_image_nothing_is_pulled() -> None:
    """A network's answer changes with pure noise, though it should not; x0 and eps describe x all the same."""
    weights = torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def denoise(x: Tensor, level: NoiseLevel) -> Prediction:
        return Prediction.from_x0((-x.flatten(1) @ weights).tanh().reshape(x.shape), x, level)

    x = torch.randn(2, 1, 1, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for t in (1.0, 0.9):
        level = flow()(t)
        found = measured(denoise, torch.zeros(2, 1, 1, 6).double(), Mask(HIDDEN), NOISE)(x, level)
        torch.testing.assert_close(level.noise(found.x0, found.eps), x)
    assert not torch.equal(found.x0, denoise(x, level).x0)
