"""DDIM: eta 1 is DDPM, eta 0 is an ordinary differential equation, and the marginals hold in between."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel, Prediction, Schedule
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.schedule import linear, schedules
from unstir.errors import InputError
from unstir.sampling import DDIM, DDPM, grid, spacings, trajectory

SHAPE = (3, 2, 3, 3)


def normal(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fake(x: Tensor, level: NoiseLevel) -> Prediction:
    """A nonlinear prediction of a bounded image."""
    return Prediction.from_x0(torch.tanh(1.3 * x.flip(-1) - x.roll(1, 1) + 2 * level.t), x, level)


def walk(
    denoise: Denoise, levels: list[NoiseLevel], sampler: DDIM | DDPM, x: Tensor, noises: Tensor
) -> list[Tensor]:
    left = iter(noises)
    return [step.x for step in trajectory(denoise, x, levels, sampler, lambda _: next(left))]


def assert_eta_one_is_ddpm(levels: list[NoiseLevel]) -> None:
    x, noises = normal(1)[0] * levels[0].sigma, normal(len(levels), seed=1)
    a, b = walk(fake, levels, DDIM(1.0), x, noises), walk(fake, levels, DDPM("small"), x, noises)
    assert len(a) == len(b) == len(levels) - 1
    for mine, ancestral in zip(a, b):
        torch.testing.assert_close(mine, ancestral, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("spacing", sorted(spacings))
@pytest.mark.parametrize("name", sorted({*schedules} - {"single"}))  # which knows one level alone
@pytest.mark.parametrize("steps", [2, 13])
def test_eta_one_is_ddpm_on_every_grid(name: str, spacing: str, steps: int) -> None:
    assert_eta_one_is_ddpm(grid(schedules[name](), steps, spacing))


@pytest.mark.parametrize("name", ["linear", "cosine", "quadratic", "sigmoid"])
def test_eta_one_is_ddpm_on_random_subsets(name: str) -> None:
    schedule, generator = schedules[name](300), torch.Generator().manual_seed(2)
    for size in (2, 3, 5, 17, 60, 150, 299):
        subset = (1 + torch.randperm(300, generator=generator)[:size]).sort(descending=True).values.tolist()
        assert_eta_one_is_ddpm(grid(schedule, size, subset))


def test_eta_one_is_ddpm_over_the_whole_chain() -> None:
    assert_eta_one_is_ddpm(grid(linear(), 1000))


def test_the_step_is_the_papers_equation_12() -> None:
    schedule = linear(100)
    here, there, eta = schedule.level(80), schedule.level(35), 0.6
    ab_here, ab_there = schedule.alphas_cumprod[79], schedule.alphas_cumprod[34]
    x, z = normal(2)
    stirred = eta * ((1 - ab_there) / (1 - ab_here)).sqrt() * (1 - ab_here / ab_there).sqrt()
    prediction = fake(x, here)
    expected = ab_there.sqrt() * (x - (1 - ab_here).sqrt() * prediction.eps) / ab_here.sqrt()
    expected = expected + (1 - ab_there - stirred**2).sqrt() * prediction.eps + stirred * z
    got, _ = DDIM(eta).step(fake, x, here, there, None, lambda _: z)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("name", sorted(schedules))
def test_every_eta_keeps_the_marginal_of_a_known_image(name: str, eta: float) -> None:
    """With the true x0 and eps, x stays alpha x0 + sigma (a unit normal mix of eps and z)."""
    schedule: Schedule = schedules[name]()
    here, there = schedule(0.8), schedule(0.3)
    x0, eps = normal(2)

    def truth(x: Tensor, level: NoiseLevel) -> Prediction:
        return Prediction(x0, eps, level)

    zero, _ = DDIM(eta).step(truth, here.noise(x0, eps), here, there, None, torch.zeros_like)
    one, _ = DDIM(eta).step(truth, here.noise(x0, eps), here, there, None, torch.ones_like)
    fresh = (one - zero).flatten()[0]
    kept = ((zero - there.alpha * x0) / eps).flatten()
    torch.testing.assert_close(kept**2 + fresh**2, (there.sigma**2).expand(len(kept)), rtol=1e-8, atol=0)
    assert (fresh.item() > 0) == (eta > 0)


def test_eta_zero_converges_to_the_exact_flow_of_a_gaussian() -> None:
    # For data N(m, s^2) the flow carries quantile to quantile: x0 = m + s z from x = alpha m + sqrt(v) z.
    mean, std = 0.3, 0.4
    denoiser = GaussianMixtureDenoiser(
        torch.tensor([[mean]]).double(), torch.tensor([std]).double(), torch.ones(1).double()
    )
    schedule = linear()
    z = torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(-1, 1)
    top = schedule.level(1000)
    x = top.alpha * mean + (top.alpha**2 * std**2 + top.sigma**2).sqrt() * z

    def error(steps: int) -> float:
        out = walk(denoiser, grid(schedule, steps), DDIM(0.0), x, normal(0))[-1]
        return (out - (mean + std * z)).abs().max().item()

    assert error(1000) < 5e-3
    # First order: five times the steps, about a fifth of the error.
    assert error(40) / error(200) == pytest.approx(5, rel=0.25)


def test_eta_zero_back_and_forth_returns() -> None:
    # Run backwards over a fine grid DDIM is inversion: the same noise comes back.
    denoiser = GaussianMixtureDenoiser(
        torch.tensor([[-0.5, 0.1], [0.6, 0.2]]).double(), torch.tensor([0.3, 0.4]), torch.tensor([0.5, 0.5])
    )
    levels = grid(linear(), 1000)[:-1]
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    down = walk(denoiser, levels, DDIM(), x, normal(0))[-1]
    up = down
    for here, there in pairwise(levels[::-1]):
        up, _ = DDIM().step(denoiser, up, here, there, None, torch.zeros_like)
    assert (down - x).abs().mean().item() > 0.3
    torch.testing.assert_close(up, x, rtol=0, atol=0.05)


@pytest.mark.parametrize("eta", [-0.1, 1.01, float("nan")])
def test_an_eta_out_of_range_is_refused(eta: float) -> None:
    with pytest.raises(InputError, match="eta"):
        DDIM(eta)


@pytest.mark.parametrize("spacing", ["trailing", "leading", "quadratic"])
@pytest.mark.parametrize("steps", [10, 50])
def test_ddpm_with_the_large_variance_is_the_papers_hat_sigma(steps: int, spacing: str) -> None:
    # Song et al. 2021, section 5: the direction of eta 1, and fresh noise of sqrt(1 - ab_here / ab_there).
    schedule, noises = linear(), normal(steps, seed=1)
    levels = grid(schedule, steps, spacing)
    x = normal(1)[0]
    expected = []
    for here, there, z in zip(levels[:-2], levels[1:-1], noises):
        ab_here, ab_there = here.alpha**2, there.alpha**2
        sigma = ((1 - ab_there) / (1 - ab_here)).sqrt() * (1 - ab_here / ab_there).sqrt()
        hat_sigma = (1 - ab_here / ab_there).sqrt()
        prediction = fake(x, here)
        x = ab_there.sqrt() * prediction.x0 + (1 - ab_there - sigma**2).sqrt() * prediction.eps + hat_sigma * z
        expected.append(x)
    got = walk(fake, levels, DDPM("large"), normal(1)[0], noises)
    for mine, theirs in zip(got, expected):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
