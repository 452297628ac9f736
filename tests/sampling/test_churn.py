"""Churn is Karras's algorithm 2, at levels whose times are the schedule's, and keeps the marginals."""

import math

import pytest
import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel, Prediction
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.schedule import linear, schedules, ve
from unstir.errors import InputError
from unstir.sampling import Churn, Euler, Heun, from_sigmas, grid, sample


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fake(x: Tensor, level: NoiseLevel) -> Prediction:
    return Prediction.from_x0(torch.tanh(1.3 * x.flip(-1) + 2 * level.t), x, level)


@pytest.mark.parametrize("name", ["linear", "cosine", "vp", "ve", "flow"])
def test_the_step_is_karras_algorithm_2(name: str) -> None:
    schedule = schedules[name]()
    here, there = schedule(0.7), schedule(0.5)
    x, z = normal(2, 4, 3)
    gamma, s_noise = 3 / 10, 1.003
    # In x / alpha and s = sigma / alpha, line by line.
    s, s_next = here.sigma / here.alpha, there.sigma / there.alpha
    s_hat = s * (1 + gamma)
    raised = schedule(schedule.time(-2 * s_hat.log()))
    scaled = x / here.alpha + (s_hat**2 - s**2).sqrt() * s_noise * z

    def slope(scaled: Tensor, level: NoiseLevel) -> Tensor:
        return (scaled - fake(level.alpha * scaled, level).x0) / (level.sigma / level.alpha)

    first = slope(scaled, raised)
    euler = scaled + (s_next - s_hat) * first
    got, _ = Churn(Euler(), schedule, 10, 3.0, s_noise=s_noise).step(fake, x, here, there, None, lambda _: z)
    torch.testing.assert_close(got / there.alpha, euler, rtol=1e-7, atol=1e-7)
    heun = scaled + (s_next - s_hat) * (first + slope(euler, there)) / 2
    got, _ = Churn(Heun(), schedule, 10, 3.0, s_noise=s_noise).step(fake, x, here, there, None, lambda _: z)
    torch.testing.assert_close(got / there.alpha, heun, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("solver", [Euler(), Heun()], ids=str)
def test_a_denoiser_of_sigmas_needs_no_schedule(solver: Euler | Heun) -> None:
    """It is churned as on the exploding process, whose times it does not see."""
    mixture = GaussianMixtureDenoiser(torch.tensor([[-0.5], [0.7]]).double(), torch.full((2,), 0.2), torch.ones(2))
    sigmas = [20.0, 5.0, 2.0, 1.0, 0.4, 0.1]
    walks = []
    for schedule in (None, ve(0.01, 100.0)):
        noises = iter(normal(len(sigmas), 50, 1, seed=2))
        churn = Churn(solver, schedule, len(sigmas), 2.0, s_tmin=0.3, s_noise=1.01)
        walks.append(
            sample(mixture, 20 * normal(50, 1), from_sigmas(sigmas), churn, lambda _, left=noises: next(left))
        )
    torch.testing.assert_close(walks[0], walks[1], rtol=1e-9, atol=1e-9)
    plain = sample(mixture, 20 * normal(50, 1), from_sigmas(sigmas), solver, torch.zeros_like)
    assert (walks[0] - plain).abs().max() > 0.1
    # A process of another scale keeps its alpha.
    level = NoiseLevel(0.5, 0.8, 0.6)
    x, raised = Churn(solver, None, 10, 3.0).raised(normal(2, 3), level, torch.ones_like)
    assert (float(raised.alpha), float(raised.sigma)) == pytest.approx((0.8, 0.6 * 1.3))
    torch.testing.assert_close(x, normal(2, 3) + 0.6 * (1.3**2 - 1) ** 0.5)


def test_the_raise_has_a_limit_and_a_range() -> None:
    schedule = ve()
    here, x = schedule(0.5), normal(4, 3)
    ratio = float(here.sigma)

    def raised(s_churn: float, s_tmin: float = 0.0, s_tmax: float = math.inf) -> float:
        churn = Churn(Euler(), schedule, 10, s_churn, s_tmin, s_tmax)
        return float(churn.raised(x, here, torch.zeros_like)[1].sigma) / ratio

    assert raised(1.0) == pytest.approx(1.1)
    assert raised(1e9) == pytest.approx(math.sqrt(2))
    assert raised(1.0, s_tmin=ratio * 1.01) == raised(1.0, s_tmax=ratio * 0.99) == raised(0.0) == 1
    assert raised(1.0, s_tmin=ratio * 0.99, s_tmax=ratio * 1.01) == pytest.approx(1.1)


@pytest.mark.parametrize("name", ["linear", "cosine", "ve", "flow"])
def test_nothing_is_raised_beyond_the_schedule(name: str) -> None:
    schedule = schedules[name]()
    top = schedule(1.0)
    x, level = Churn(Euler(), schedule, 10, 4.0).raised(normal(4, 3), top, torch.ones_like)
    torch.testing.assert_close(level.sigma, top.sigma)
    torch.testing.assert_close(x, normal(4, 3), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sampler,within", [(Euler, 0.06), (Heun, 0.015)])
def test_churned_samples_have_the_right_moments(sampler: type[Euler] | type[Heun], within: float) -> None:
    mean, std, schedule = 0.3, 0.4, linear()
    denoise = GaussianMixtureDenoiser(
        torch.tensor([[mean]]).double(), torch.tensor([std]).double(), torch.ones(1).double()
    )
    generator = torch.Generator().manual_seed(1)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    levels = grid(schedule, 200, "karras")
    x = levels[0].noise(mean + std * normal(20_000, 1), normal(20_000, 1, seed=2))
    out = sample(denoise, x, levels, Churn(sampler(), schedule, 200, 30.0), noise)
    assert out.mean().item() == pytest.approx(mean, abs=0.02)
    assert out.std().item() == pytest.approx(std, rel=within)
    # Each image has long forgotten where it started.
    assert abs(torch.corrcoef(torch.cat([out, x], dim=1).T)[0, 1].item()) < 0.2


@pytest.mark.parametrize("wrong", [{"s_churn": -1.0}, {"s_tmin": 2.0, "s_tmax": 1.0}, {"s_noise": -1.0}])
def test_impossible_churn_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="Churn"):
        Churn(Euler(), linear(), 10, **{"s_churn": 1.0, **wrong})
