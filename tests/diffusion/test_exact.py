"""The exact denoisers against numerical integration and against the gradient of the density itself."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from unstir.diffusion import NoiseLevel, Schedule
from unstir.diffusion.exact import GaussianMixtureDenoiser, IdealDenoiser
from unstir.diffusion.schedule import flow, linear, ve

MEANS = torch.tensor([[-0.8], [0.1], [0.6]], dtype=torch.float64)
STDS = torch.tensor([0.1, 0.3, 0.05], dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
SCHEDULES = [linear(), ve(), flow()]
NAMES = ["linear", "ve", "flow"]


def integrated_mean(x: float, level: NoiseLevel) -> float:
    """E[x0 | x] by summing over a fine grid of x0."""
    x0 = np.linspace(-3, 3, 120_001)
    prior = sum(
        w / s * np.exp(-((x0 - m) ** 2) / (2 * s**2))
        for w, m, s in zip(WEIGHTS.tolist(), MEANS.flatten().tolist(), STDS.tolist())
    )
    alpha, sigma = level.alpha.item(), level.sigma.item()
    exponent = -((x - alpha * x0) ** 2) / (2 * sigma**2)
    posterior = prior * np.exp(exponent - exponent.max())
    return float((posterior * x0).sum() / posterior.sum())


@pytest.mark.parametrize("schedule", SCHEDULES, ids=NAMES)
def test_posterior_mean_equals_numerical_integration(schedule: Schedule) -> None:
    denoiser = GaussianMixtureDenoiser(MEANS, STDS, WEIGHTS)
    for t in (0.02, 0.2, 0.5, 0.9, 1.0):
        level = schedule(t)
        x = torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(-1, 1)
        expected = [integrated_mean(value, level) for value in x.flatten().tolist()]
        torch.testing.assert_close(
            denoiser(x, level).x0.flatten(), torch.tensor(expected).double(), rtol=1e-6, atol=1e-7
        )


def test_weights_need_not_sum_to_one() -> None:
    x, level = torch.linspace(-1, 1, 5, dtype=torch.float64).reshape(-1, 1), linear()(0.4)
    unscaled = GaussianMixtureDenoiser(MEANS, STDS, 7 * WEIGHTS)
    torch.testing.assert_close(unscaled.weights, WEIGHTS)
    scaled = unscaled(x, level).x0
    torch.testing.assert_close(scaled, GaussianMixtureDenoiser(MEANS, STDS, WEIGHTS)(x, level).x0)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=NAMES)
def test_one_level_per_image_equals_image_by_image(schedule: Schedule) -> None:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(4, 2, 3, 3, generator=generator, dtype=torch.float64)
    denoiser = GaussianMixtureDenoiser(means, torch.tensor([0.1, 0.5, 0.0, 1.0]), torch.ones(4))
    x = torch.randn(5, 2, 3, 3, generator=generator, dtype=torch.float64)
    times = [0.05, 0.3, 0.6, 0.95, 1.0]
    together = denoiser(x, schedule(torch.tensor(times, dtype=torch.float64)))
    for i, t in enumerate(times):
        alone = denoiser(x[i : i + 1], schedule(t))
        torch.testing.assert_close(together.x0[i : i + 1], alone.x0, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(together.eps[i : i + 1], alone.eps, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=NAMES)
def test_score_is_the_gradient_of_the_log_density(schedule: Schedule) -> None:
    generator = torch.Generator().manual_seed(2)
    means = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    denoiser = GaussianMixtureDenoiser(means, STDS, WEIGHTS)
    for t in (0.05, 0.4, 1.0):
        level = schedule(t)
        noised_std = (level.alpha**2 * STDS**2 + level.sigma**2).sqrt()
        density = MixtureSameFamily(
            Categorical(WEIGHTS),
            Independent(Normal(level.alpha * means, noised_std[:, None].expand(3, 4)), 1),
        )
        x = (density.sample((6,)) + 0.3 * level.sigma).requires_grad_()
        (gradient,) = torch.autograd.grad(density.log_prob(x).sum(), x)
        torch.testing.assert_close(denoiser(x.detach(), level).score, gradient, rtol=1e-7, atol=1e-8)


def test_samples_have_the_mixtures_moments() -> None:
    denoiser = GaussianMixtureDenoiser(MEANS, STDS, WEIGHTS)
    n = 200_000
    samples = denoiser.sample(n, torch.Generator().manual_seed(0)).flatten()
    mean = (WEIGHTS * MEANS.flatten()).sum().item()
    variance = (WEIGHTS * (STDS**2 + MEANS.flatten() ** 2)).sum().item() - mean**2
    assert samples.mean().item() == pytest.approx(mean, abs=5 * (variance / n) ** 0.5)
    assert samples.var().item() == pytest.approx(variance, rel=0.02)
    assert ((samples - 0.6).abs() < 0.1).double().mean().item() == pytest.approx(
        0.3 * math.erf(2 / 2**0.5) + 0.2 * 0.5 * (math.erf(2 / 2**0.5) - math.erf(4 / 3 / 2**0.5)), abs=0.006
    )


def data(n: int = 6) -> Tensor:
    return torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64).clamp(-1, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ideal_denoiser_finds_the_nearest_image_at_little_noise(dtype: torch.dtype) -> None:
    images = data().to(dtype)
    level = ve()(0.05)
    x = images[[3, 0, 5]] + level.sigma.to(dtype) * torch.randn(
        3, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=dtype
    )
    prediction = IdealDenoiser(images)(x, level)
    torch.testing.assert_close(prediction.x0, images[[3, 0, 5]])
    torch.testing.assert_close(level.noise(prediction.x0, prediction.eps), x)


def test_the_ideal_denoiser_finds_the_mean_at_pure_noise() -> None:
    images = data()
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mean = images.mean(0, keepdim=True).expand(2, 1, 4, 4)
    torch.testing.assert_close(IdealDenoiser(images)(x, flow()(1.0)).x0, mean)
    huge = ve(sigma_max=1e5)(1.0)
    torch.testing.assert_close(IdealDenoiser(images)(1e5 * x, huge).x0, mean, rtol=0, atol=1e-3)


def test_the_ideal_denoiser_is_a_softmax_of_distances() -> None:
    images, level = data(), linear()(0.3)
    x = level.noise(images[:1], torch.ones(1, 1, 4, 4).double())
    distances = ((x - level.alpha * images) ** 2).flatten(1).sum(1)
    weights = torch.softmax(-distances / (2 * level.sigma**2), dim=0)
    expected = (weights.reshape(-1, 1, 1, 1) * images).sum(0, keepdim=True)
    torch.testing.assert_close(IdealDenoiser(images)(x, level).x0, expected)


def test_gradients_are_those_of_differences() -> None:
    means = torch.tensor([[-0.6, 0.2], [0.5, -0.5], [0.1, 0.7]]).double()
    denoise = GaussianMixtureDenoiser(means, torch.tensor([0.3, 0.0, 0.2]), torch.tensor([0.2, 0.5, 0.3]))
    x = torch.tensor([[0.1, -0.3], [0.8, 0.4]]).double().requires_grad_()
    for t in (0.05, 0.3, 0.9):
        level = linear()(t)
        assert torch.autograd.gradcheck(lambda x, level=level: denoise(x, level).x0, x)


def test_the_slope_is_the_posterior_covariance() -> None:
    # d E[x0 | x] / dx = alpha / sigma^2 Cov[x0 | x], here with Cov = s^2 sigma^2 / (alpha^2 s^2 + sigma^2) I.
    denoise = GaussianMixtureDenoiser(torch.tensor([[0.4, -0.1]]).double(), torch.tensor([0.6]), torch.ones(1))
    level = linear()(0.3)
    slope = torch.autograd.functional.jacobian(lambda x: denoise(x, level).x0, torch.ones(1, 2).double())
    gain = level.alpha * 0.6**2 / (level.alpha**2 * 0.6**2 + level.sigma**2)
    torch.testing.assert_close(slope[0, :, 0], gain * torch.eye(2).double(), rtol=1e-6, atol=1e-9)
