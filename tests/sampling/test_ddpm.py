"""Ancestral sampling: the paper's step, and samples that cannot be told from a known mixture's."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel, Prediction
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.schedule import flow, linear
from unstir.errors import InputError
from unstir.sampling import DDIM, DDPM, grid, sample

MEANS = torch.tensor([[-0.6, -0.2], [0.5, 0.1], [0.1, 0.7]], dtype=torch.float64)
STDS = torch.tensor([0.2, 0.3, 0.1], dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
MIXTURE = GaussianMixtureDenoiser(MEANS, STDS, WEIGHTS)
COUNT = 10_000


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distance(x: Tensor) -> float:
    """Kuiper's distance from the mixture's exact distribution function, the largest over twelve directions.

    A projection of the mixture is again one, so its distribution function is known and no second sample is needed.
    Scaled by sqrt(n); Kuiper's form, the sum of the deviations above and below, sees widths as well as places.
    """
    angles = torch.arange(12, dtype=torch.float64) * math.pi / 12
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    projected = (x @ directions.T).sort(dim=0).values
    cdf = (WEIGHTS * torch.special.ndtr((projected[..., None] - directions @ MEANS.T) / STDS)).sum(-1)
    ranks = torch.arange(len(x) + 1, dtype=torch.float64)[:, None] / len(x)
    return float(((ranks[1:] - cdf).amax(0) + (cdf - ranks[:-1]).amax(0)).max()) * len(x) ** 0.5


@pytest.fixture(scope="module")
def threshold() -> float:
    """A fifth above the largest distance of 60 exact samples."""
    generator = torch.Generator().manual_seed(0)
    return 1.2 * max(distance(MIXTURE.sample(COUNT, generator)) for _ in range(60))


@pytest.mark.parametrize(
    "weights,scale",
    [([0.45, 0.35, 0.2], 1.0), ([0.5, 0.25, 0.25], 1.0), ([0.5, 0.3, 0.2], 1.1), ([0.5, 0.3, 0.2], 0.9)],
    ids=["weight moved", "other weight moved", "wider", "narrower"],
)
def test_the_test_would_see_a_wrong_sample(threshold: float, weights: list[float], scale: float) -> None:
    wrong = GaussianMixtureDenoiser(MEANS, scale * STDS, torch.tensor(weights).double())
    generator = torch.Generator().manual_seed(1)
    assert min(distance(wrong.sample(COUNT, generator)) for _ in range(5)) > threshold


@pytest.mark.parametrize(
    "sampler",
    [DDPM("small"), *(pytest.param(each, marks=pytest.mark.slow) for each in (DDPM("large"), DDIM(0.5)))],
    ids=str,
)
def test_a_thousand_steps_draw_from_the_mixture(threshold: float, sampler: DDPM | DDIM) -> None:
    generator = torch.Generator().manual_seed(2)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    x = noise(torch.zeros(COUNT, 2, dtype=torch.float64))
    assert distance(sample(MIXTURE, x, grid(linear(), 1000), sampler, noise)) < threshold


@pytest.mark.parametrize("variance", ["small", "large"])
def test_the_step_is_the_papers_algorithm_2(variance: str) -> None:
    schedule, x, eps, z = linear(100), *normal(3, 2, 1, 3, 3, seed=0)
    for n in (2, 40, 100):
        here, there = schedule.level(n), schedule.level(n - 1)
        beta, ab_here, ab_there = schedule.betas[n - 1], schedule.alphas_cumprod[n - 1], there.alpha**2
        spread = beta if variance == "large" else (1 - ab_there) / (1 - ab_here) * beta

        def denoise(x: Tensor, level: NoiseLevel) -> Prediction:
            return Prediction.from_eps(eps, x, level)

        got, state = DDPM(variance).step(denoise, x, here, there, None, lambda _: z)
        expected = (x - beta / (1 - ab_here).sqrt() * eps) / (1 - beta).sqrt() + spread.sqrt() * z
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
        assert state is None


def test_each_variance_is_exact_for_its_kind_of_data() -> None:
    # Small for a single point, large for a standard normal (Ho et al. 2020, section 3.2), on any subset of steps.
    levels, generator = grid(linear(), 5), torch.Generator().manual_seed(0)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    one = torch.ones(1, dtype=torch.float64)
    point = GaussianMixtureDenoiser(torch.tensor([[0.4]]).double(), 0 * one, one)
    standard = GaussianMixtureDenoiser(torch.zeros(1, 1).double(), one, one)
    for variance, denoiser in (("small", point), ("large", standard)):
        x = levels[0].noise(denoiser.sample(200_000, generator), noise(torch.zeros(200_000, 1).double()))
        for here, there in pairwise(levels[:-1]):
            x, _ = DDPM(variance).step(denoiser, x, here, there, None, noise)
            expected = (there.alpha**2 * denoiser.stds[0] ** 2 + there.sigma**2).sqrt().item()
            assert x.std().item() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("here", "there"), [(40, 39), (90, 30), (2, 1)])
def test_a_learned_variance_lies_between_on_any_subset(here: int, there: int) -> None:
    schedule, x, eps, z = linear(100), *normal(3, 2, 1, 3, 3, seed=0)
    v = torch.linspace(-0.2, 1.2, 9, dtype=torch.float64).reshape(1, 1, 3, 3).expand(2, 1, 3, 3)
    ab = schedule.alphas_cumprod
    beta = 1 - ab[here - 1] / ab[there - 1]
    small = (1 - ab[there - 1]) / (1 - ab[here - 1]) * beta
    levels = schedule.level(here), schedule.level(there)

    def step(variance: str, v: Tensor | None) -> Tensor:
        def denoise(x: Tensor, level: NoiseLevel) -> Prediction:
            return replace(Prediction.from_eps(eps, x, level), variance=v)

        return DDPM(variance).step(denoise, x, *levels, None, lambda _: z)[0]

    mean = step("small", None) - small.sqrt() * z
    torch.testing.assert_close(step("learned", v), mean + beta ** (v / 2) * small ** ((1 - v) / 2) * z)
    for variance, end in (("small", 0.0), ("large", 1.0)):
        torch.testing.assert_close(step("learned", torch.full_like(v, end)), step(variance, None))
    with pytest.raises(InputError, match="needs a model that predicts it"):
        step("learned", None)


def test_an_unknown_variance_is_refused() -> None:
    with pytest.raises(InputError, match="'middle'"):
        DDPM("middle")


def test_pure_noise_is_not_guided() -> None:
    """Of it a classifier can say nothing: where alpha is 0, a drift moves no mean."""
    x = torch.ones(1, 1, 2, 2).double()
    first, second, third = grid(flow(), 10)[:3]

    def stepped(here: NoiseLevel, there: NoiseLevel, drift: float) -> Tensor:
        def denoise(x: Tensor, level: NoiseLevel) -> Prediction:
            return replace(Prediction.from_x0(0.0, x, level), drift=drift * torch.ones_like(x))

        return DDPM().step(denoise, x, here, there, None, lambda like: torch.zeros_like(like))[0]

    assert torch.equal(stepped(first, second, 5.0), stepped(first, second, 0.0))
    assert (stepped(second, third, 5.0) > stepped(second, third, 0.0)).all()
