"""The bound's terms against integrals worked out number by number."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor

from unstir.diffusion import DiscreteSchedule, NoiseLevel, Prediction, Schedule
from unstir.diffusion.bound import (
    bound_term,
    decoder_log_likelihood,
    gaussian_kl,
    prior_term,
    smallest_variance,
)
from unstir.diffusion.objective import Bound, variational
from unstir.diffusion.schedule import cosine, flow, linear, ve

PIXELS = (torch.arange(256, dtype=torch.float64) / 127.5) - 1


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def numeric_kl(mean: float, variance: float, other: float, other_variance: float) -> float:
    """D(N || N') in nats by adding up a fine grid of the density."""
    deviation = variance**0.5
    x = np.linspace(mean - 12 * deviation, mean + 12 * deviation, 100_001)
    log_p = stats.norm.logpdf(x, mean, deviation)
    log_ratio = log_p - stats.norm.logpdf(x, other, other_variance**0.5)
    return float((np.exp(log_p) * log_ratio).sum() * (x[1] - x[0]))


@pytest.mark.parametrize(
    ("mean", "variance", "other", "other_variance"),
    [(0.3, 0.5, -0.2, 0.7), (1.0, 1.0, 1.0, 1.0), (0.0, 1e-4, 0.01, 2e-4), (-2.0, 3.0, 1.0, 0.2)],
)
def test_gaussian_kl_is_the_integral(mean: float, variance: float, other: float, other_variance: float) -> None:
    logs = torch.tensor([variance, other_variance], dtype=torch.float64).log()
    found = gaussian_kl(torch.tensor(mean - other, dtype=torch.float64), *logs)
    assert found.item() == pytest.approx(numeric_kl(mean, variance, other, other_variance), rel=1e-6, abs=1e-12)


def test_gaussian_kl_of_close_variances_is_not_lost_in_float32() -> None:
    log = torch.tensor([-5.0, -5.01])
    exact = 0.5 * (math.exp(0.01) - 1 - 0.01)
    assert gaussian_kl(torch.zeros(()), log[0], log[0] - 0.01).item() == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_decoder_sums_to_one(dtype: torch.dtype) -> None:
    means = torch.tensor([-40, -1.3, -1, -0.9961, -0.5, 0, 1e-3, 0.31, 1, 1.0039, 2.5, 40], dtype=dtype)
    for deviation in (1e-6, 1e-4, 1e-3, 1 / 255, 0.02, 0.3, 1.0, 30.0):
        log = torch.tensor(2 * math.log(deviation), dtype=dtype)
        logs = decoder_log_likelihood(PIXELS.to(dtype)[:, None].expand(256, 12), means.expand(256, 12), log)
        assert not bool(logs.isnan().any()) and bool((logs <= 0).all())
        tolerance = 1e-5 if dtype == torch.float32 else 1e-12
        torch.testing.assert_close(logs.exp().sum(0), torch.ones(12, dtype=dtype), rtol=0, atol=tolerance)


def test_the_decoder_is_the_integral_over_the_bin() -> None:
    means, deviation = torch.linspace(-1.5, 1.5, 41, dtype=torch.float64), 0.15
    logs = decoder_log_likelihood(
        PIXELS[:, None].expand(256, 41),
        means.expand(256, 41),
        torch.tensor(2 * math.log(deviation), dtype=torch.float64),
    )
    edges = np.concatenate([[-np.inf], (np.arange(1, 256) - 0.5) / 127.5 - 1, [np.inf]])
    masses = np.diff(special.ndtr((edges[:, None] - means.numpy()) / deviation), axis=0)
    np.testing.assert_allclose(logs.exp().numpy(), masses, rtol=1e-9, atol=1e-15)


def test_the_decoder_is_exact_far_from_the_mean_and_has_gradients_there() -> None:
    x0 = torch.tensor([-1.0, 1.0, PIXELS[20], PIXELS[230]], dtype=torch.float32)
    for sign in (1, -1):
        mean = (-sign * torch.tensor([-0.8, 0.8, -0.9, 0.9])).requires_grad_()
        log = torch.full((4,), 2 * math.log(0.01)).requires_grad_()
        found = decoder_log_likelihood(sign * -x0.flip(0), mean, log)
        nearest = ((sign * -x0.flip(0) - mean).abs() - 1 / 255).detach().double() / 0.01
        np.testing.assert_allclose(found.detach().numpy(), special.log_ndtr(-nearest.numpy()), rtol=1e-4)
        found.sum().backward()
        assert mean.grad is not None and log.grad is not None
        assert bool((mean.grad * (sign * -x0.flip(0) - mean) > 0).all())
        assert bool((log.grad > 0).all() & log.grad.isfinite().all())


def case(schedule: Schedule, n: int, variance: str, v: float) -> tuple[Prediction, NoiseLevel, Tensor]:
    level, there = schedule(n / 40), schedule((n - 1) / 40)
    x0, eps = torch.tensor([[0.2]]).double(), torch.tensor([[-0.7]]).double()
    prediction = Prediction.from_eps(eps + 0.4, level.noise(x0, eps), level)
    prediction = replace(prediction, variance=torch.full_like(x0, v))
    return prediction, there, x0


@pytest.mark.parametrize("variance", ["small", "large", "learned"])
@pytest.mark.parametrize("n", [2, 7, 40])
def test_a_transition_is_the_integral(n: int, variance: str) -> None:
    # The two Gaussians are written as the papers do, from betas; the model's mean is Ho et al.'s equation 11.
    schedule, v = linear(40, 1e-3, 0.2), 0.3
    prediction, there, x0 = case(schedule, n, variance, v)
    beta, ab, ab_there = (float(a) for a in (schedule.betas[n - 1], prediction.level.alpha**2, there.alpha**2))
    small = (1 - ab_there) / (1 - ab) * beta
    eps, x = -0.7, float(prediction.level.noise(x0, prediction.eps - 0.4))
    true_mean, model_mean = ((x - beta / (1 - ab) ** 0.5 * e) / (1 - beta) ** 0.5 for e in (eps, eps + 0.4))
    spread = {"small": small, "large": beta, "learned": math.exp(v * math.log(beta) + (1 - v) * math.log(small))}
    expected = numeric_kl(true_mean, small, model_mean, spread[variance]) / math.log(2)
    found = bound_term(prediction, x0, there, variance, torch.tensor(1.0))  # type: ignore[arg-type]
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("variance", ["small", "large", "learned"])
def test_the_last_step_is_the_decoder_with_the_next_steps_variance(variance: str) -> None:
    schedule = linear(40, 1e-3, 0.2)
    chain = schedule.level(torch.arange(41))
    prediction, there, x0 = case(schedule, 1, variance, 0.3)
    small, beta = (1 - chain.alpha[1] ** 2) / (1 - chain.alpha[2] ** 2) * schedule.betas[1], schedule.betas[0]
    assert smallest_variance(chain).item() == pytest.approx(small.item(), rel=1e-9)
    spread = {"small": small, "large": beta, "learned": beta**0.3 * small**0.7}[variance] ** 0.5
    snapped = (torch.round((x0 + 1) * 127.5)) / 127.5 - 1
    low, high = (
        float(stats.norm.cdf(snapped.item() + half, prediction.x0.item(), spread.item()))
        for half in (-1 / 255, 1 / 255)
    )
    found = bound_term(prediction, snapped, there, variance, smallest_variance(chain))  # type: ignore[arg-type]
    assert found.item() == pytest.approx(-math.log2(high - low), rel=1e-9)


def test_a_chain_of_two_steps_has_the_seconds_posterior_variance() -> None:
    first, second = linear(2, 0.1, 0.3).betas.tolist()
    expected = second * first / (1 - (1 - first) * (1 - second))  # beta_2 (1 - ab_1) / (1 - ab_2)
    assert smallest_variance(linear(2, 0.1, 0.3).level(torch.arange(3))).item() == pytest.approx(expected)


def test_a_chain_of_one_step_has_its_beta() -> None:
    assert smallest_variance(linear(1).level(torch.arange(2))).item() == pytest.approx(1e-4)


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("schedule", [linear(50), cosine(50)], ids=["linear", "cosine"])
def test_variational_weights_make_the_error_of_the_noise_the_transition(schedule: Schedule, variance: str) -> None:
    n = torch.arange(2, 51)
    chain = schedule.level(torch.arange(51))  # type: ignore[attr-defined]
    level, there = chain[n], chain[n - 1]
    x0, eps, wrong = (normal(49, 2, 3, seed=seed) for seed in (0, 1, 2))
    prediction = Prediction.from_eps(wrong, level.noise(x0, eps), level)
    term = bound_term(prediction, x0, there, variance, smallest_variance(chain))  # type: ignore[arg-type]
    exact = Prediction.from_eps(eps, level.noise(x0, eps), level)
    constant = bound_term(exact, x0, there, variance, smallest_variance(chain))  # type: ignore[arg-type]
    weighted = variational(schedule, variance).of(prediction, x0, eps)  # type: ignore[arg-type]
    torch.testing.assert_close(weighted, (term - constant) * math.log(2), rtol=1e-6, atol=1e-9)
    if variance == "small":
        torch.testing.assert_close(constant, torch.zeros(49).double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_variational_weights_are_finite_from_pure_noise(variance: str) -> None:
    """Where alpha = 0 the noise says nothing of the image, but a network that predicts the image errs in it."""
    schedule = DiscreteSchedule(torch.tensor([0.1, 0.2, 0.3, 1.0]))
    n, chain = torch.tensor([2, 3, 4, 4]), schedule.level(torch.arange(5))
    level, there = chain[n], chain[n - 1]
    x0, eps, wrong = (normal(4, 2, 3, seed=seed) for seed in (0, 1, 2))
    objective = variational(schedule, variance)  # type: ignore[arg-type]
    assert objective.weight(level).isfinite().all() and (objective.weight(level) > 0).all()
    smallest, x = smallest_variance(chain), level.noise(x0, eps)
    terms = [
        bound_term(Prediction.from_x0(image, x, level), x0, there, variance, smallest)  # type: ignore[arg-type]
        for image in (wrong, x0)
    ]
    loss = objective.of(Prediction.from_x0(wrong, x, level), x0, eps)
    torch.testing.assert_close(loss, (terms[0] - terms[1]) * math.log(2), rtol=1e-9, atol=1e-12)
    assert float(objective.weight(schedule.level(1))) > 0
    # What predicts the noise knows nothing of the image there, and learns nothing.
    guess = wrong.clone().requires_grad_()
    objective.of(Prediction.from_eps(guess, x, level), x0, eps).sum().backward()
    assert guess.grad.isfinite().all() and (guess.grad[2:] == 0).all() and (guess.grad[:2] != 0).all()


def test_terms_of_one_batch_are_each_its_own() -> None:
    schedule = linear(30)
    chain, n = schedule.level(torch.arange(31)), torch.tensor([1, 2, 1, 30])
    x0 = PIXELS[torch.tensor([0, 100, 255, 9])].reshape(4, 1, 1, 1) * torch.ones(4, 1, 2, 2).double()
    prediction = Prediction.from_eps(normal(4, 1, 2, 2), chain[n].noise(x0, normal(4, 1, 2, 2, seed=1)), chain[n])
    together = Bound(schedule, "large").of(prediction, x0, x0)
    for i in range(4):
        level = schedule.level(int(n[i]))
        alone = Prediction(prediction.x0[i : i + 1], prediction.eps[i : i + 1], level)
        term = bound_term(alone, x0[i : i + 1], schedule.level(int(n[i]) - 1), "large", smallest_variance(chain))
        expected = 30 * term + prior_term(x0[i : i + 1], chain[30])
        torch.testing.assert_close(together[i : i + 1], expected)


def test_the_prior_term_is_the_integral() -> None:
    for level in (linear(20)(1.0), linear()(1.0), ve()(1.0), flow()(1.0)):
        alpha, sigma = float(level.alpha), float(level.sigma)
        expected = numeric_kl(alpha * 0.8, sigma**2, 0.0, alpha**2 + sigma**2) / math.log(2)
        found = prior_term(torch.tensor([[0.8]]).double(), level)
        assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)
