"""Bits for each dimension against densities that are known."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from unstir.diffusion import DiscreteSchedule, NoiseLevel, Schedule
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.likelihood import flow_bits, flow_log_density, variational_bound
from unstir.diffusion.posterior import Variance
from unstir.diffusion.schedule import cosine, flow, linear, ve, vp
from unstir.errors import InputError

MEANS = torch.tensor([[-0.6, -0.2], [0.5, 0.1], [0.1, 0.7]], dtype=torch.float64)
STDS = torch.tensor([0.2, 0.3, 0.1], dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
MIXTURE = GaussianMixtureDenoiser(MEANS, STDS, WEIGHTS)


def log_density(x: Tensor, extra: float = 0.0) -> Tensor:
    """The mixture's, noised by a variance ``extra`` over what it has."""
    deviations = (STDS**2 + extra).sqrt()[:, None].expand(3, 2)
    return MixtureSameFamily(Categorical(WEIGHTS), Independent(Normal(MEANS, deviations), 1)).log_prob(x)


def even(schedule: Schedule, steps: int, least: float | None = None) -> list[NoiseLevel]:
    """Levels even in log-SNR from the schedule's noisiest to its least noise or ``least``, then clean data."""
    first = max(float(schedule(1.0).log_snr), -13.8)
    last = float(schedule(schedule.t_min).log_snr) if least is None else least
    times = schedule.time(torch.linspace(first, last, steps, dtype=torch.float64))
    return [*(schedule(t) for t in times), NoiseLevel.clean()]


def normals(seed: int) -> Callable[[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype)


# By the flow. The schedules end in enough noise that the data's moments are gone.


@pytest.mark.parametrize(
    "schedule",
    [linear(1000, 1e-4, 0.04), cosine(), vp(beta_max=40.0), ve(sigma_max=2000.0), flow()],
    ids=["linear", "cosine", "vp", "ve", "flow"],
)
def test_the_flows_density_of_a_mixture_is_exact(schedule: Schedule) -> None:
    x, levels = MIXTURE.sample(40, torch.Generator().manual_seed(0)), even(schedule, 500)
    least = float(levels[-2].sigma / levels[-2].alpha)
    found, _ = flow_log_density(MIXTURE, x, levels)
    torch.testing.assert_close(found, log_density(x, least**2), rtol=0, atol=1e-3)
    assert (found - log_density(x, 4 * least**2 + 0.01)).abs().max() > 0.05


@pytest.mark.parametrize("schedule", [linear(), cosine(), ve(), flow()], ids=["linear", "cosine", "ve", "flow"])
def test_the_latent_is_where_the_flow_leads(schedule: Schedule) -> None:
    """For N(m, s^2) it carries quantile to quantile; where the process ends in noise that is the latent."""
    mean, std, z = 0.3, 0.4, torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(-1, 1)
    one = GaussianMixtureDenoiser(
        torch.tensor([[mean]]).double(), torch.tensor([std]).double(), torch.ones(1).double()
    )
    levels = even(schedule, 500)
    _, latent = flow_log_density(one, mean + std * z, levels)
    alpha, sigma = levels[0].alpha, levels[0].sigma
    expected = (alpha * mean + (alpha**2 * std**2 + sigma**2).sqrt() * z) / (alpha**2 + sigma**2).sqrt()
    torch.testing.assert_close(latent, expected, rtol=0, atol=2e-2)
    torch.testing.assert_close(latent, z, rtol=0, atol=3e-2)


def test_one_level_is_no_flow() -> None:
    with pytest.raises(InputError, match="at least 2 levels"):
        flow_log_density(MIXTURE, torch.zeros(1, 2, dtype=torch.float64), even(flow(), 1))


def test_the_flow_is_solved_to_second_order() -> None:
    x = MIXTURE.sample(20, torch.Generator().manual_seed(0))
    values = [flow_log_density(MIXTURE, x, even(flow(), steps + 1))[0] for steps in (100, 200, 400)]
    errors = [float((a - b).norm()) for a, b in itertools.pairwise(values)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.15)


def test_random_signs_estimate_the_divergence_without_bias() -> None:
    # In two dimensions the four sign vectors are all there are: their mean is the expectation.
    x, levels = MIXTURE.sample(10, torch.Generator().manual_seed(0)), even(flow(), 30)
    signs = [torch.tensor(s).double().expand(10, 2) for s in itertools.product((-1, 1), repeat=2)]
    exact, _ = flow_log_density(MIXTURE, x, levels)
    torch.testing.assert_close(flow_log_density(MIXTURE, x, levels, signs)[0], exact, rtol=1e-9, atol=1e-9)
    assert (flow_log_density(MIXTURE, x, levels, signs[:1])[0] - exact).abs().max() > 1e-2


def test_a_gaussians_bits_are_analytic() -> None:
    # Pixels of N(0, s^2), independent; the flow of each is a scaling, so signs lose nothing.
    deviation = 0.25
    gaussian = GaussianMixtureDenoiser(torch.zeros(1, 1, 4, 4).double(), torch.tensor([deviation]), torch.ones(1))
    x0 = deviation * normals(0)(torch.zeros(200, 1, 4, 4).double())
    x0 = ((x0 + 1) * 127.5).round() / 127.5 - 1
    found = flow_bits(gaussian, x0, even(flow(), 400), normals(1))
    expected = math.log2(127.5) + 0.5 * math.log2(2 * math.pi * math.e * deviation**2)
    noise = 0.5**0.5 / math.log(2) / (200 * 16) ** 0.5
    assert found.mean().item() == pytest.approx(expected, abs=4 * noise)
    few = even(flow(), 30)
    exact = flow_bits(gaussian, x0, few, normals(1), probes=None)
    torch.testing.assert_close(flow_bits(gaussian, x0, few, normals(1)), exact, rtol=1e-9, atol=0)
    # The very images' likelihood, given the dequantization.
    y = x0 + (2 * torch.special.ndtr(normals(1)(x0)) - 1) / 255
    nats = Normal(0.0, math.sqrt(deviation**2 + 1e-6)).log_prob(y).flatten(1).mean(1)
    torch.testing.assert_close(found, math.log2(127.5) - nats / math.log(2), rtol=0, atol=5e-4)


# By the bound


def images(n: int) -> Tensor:
    x0 = MIXTURE.sample(n, torch.Generator().manual_seed(3)).clamp(-1, 1)
    return ((x0 + 1) * 127.5).round() / 127.5 - 1


def true_bits(x0: Tensor) -> Tensor:
    """The bits of each image under the mixture's mass on the squares of 8-bit values."""
    low, high = x0[:, None] - 1 / 255 - MEANS, x0[:, None] + 1 / 255 - MEANS
    low, high = (torch.where((x0 == end)[:, None], end * math.inf, e) for end, e in ((-1, low), (1, high)))
    deviations = STDS[:, None]
    mass = (torch.special.ndtr(high / deviations) - torch.special.ndtr(low / deviations)).prod(2) @ WEIGHTS
    return -mass.log2() / 2


def gap(schedule: Schedule, levels: list[NoiseLevel], variance: Variance, n: int = 4000) -> float:
    x0 = images(n)
    bound = variational_bound(MIXTURE, x0, levels, variance, normals(0))
    assert bound.prior.mean() < 1e-3 and bool((bound.decoder > 0).all())
    return float((bound.total - true_bits(x0)).mean())


@pytest.mark.parametrize("make", [lambda t: linear(t, 0.1 / t, 20 / t), cosine], ids=["linear", "cosine"])
def test_the_exact_denoisers_bound_is_above_the_truth_and_nears_it_with_more_levels(
    make: Callable[[int], DiscreteSchedule],
) -> None:
    schedules = {steps: make(steps) for steps in (30, 100, 300)}
    levels = {t: [schedule.level(n) for n in range(t, -1, -1)] for t, schedule in schedules.items()}
    gaps = [gap(schedules[t], levels[t], "large") for t in levels]
    assert gaps[0] > 2 * gaps[1] and gaps[1] > gaps[2] > 0
    assert gaps[2] < 0.08
    # The smaller variance is right for a point: for a wide mixture it codes each step worse.
    assert gap(schedules[100], levels[100], "small") > gaps[1] + 0.3


@pytest.mark.parametrize("schedule", [vp(), ve(), flow()], ids=["vp", "ve", "flow"])
def test_continuous_time_cut_into_levels_has_its_bound(schedule: Schedule) -> None:
    # Not to less noise than the bins are wide: below, the mixture's denoiser is not that of 8-bit values.
    gaps = [gap(schedule, even(schedule, steps, least=9.2), "large", 2000) for steps in (40, 400)]
    assert gaps[0] > 2 * gaps[1] > 0
    assert gaps[1] < 0.2


def test_a_gaussians_transitions_are_analytic() -> None:
    # For N(0, 1) data the predicted image is alpha x, of variance sigma^2 about the true one.
    standard = GaussianMixtureDenoiser(torch.zeros(1, 1).double(), torch.ones(1), torch.ones(1))
    schedule, x0 = linear(20, 1e-2, 0.3), normals(0)(torch.zeros(100_000, 1).double())
    levels = [schedule.level(n) for n in range(20, -1, -1)]
    found = variational_bound(standard, x0, levels, "small", normals(1)).transitions.mean()
    alpha_bar = schedule.alphas_cumprod
    expected = 0.0
    for n in range(2, 21):
        beta, ab, there = (float(a) for a in (schedule.betas[n - 1], alpha_bar[n - 1], alpha_bar[n - 2]))
        small, of_x0 = (1 - there) / (1 - ab) * beta, there**0.5 * beta / (1 - ab)
        expected += of_x0**2 * (1 - ab) / (2 * small) / math.log(2)
    assert found.item() == pytest.approx(expected, rel=0.01)


def test_some_terms_estimate_all_without_bias() -> None:
    x0, levels = images(1), even(flow(), 40, least=11.0)
    many = x0.expand(20_000, -1)
    some = variational_bound(MIXTURE, many, levels, "small", normals(0), terms=5).transitions
    every = variational_bound(MIXTURE, many[:4000], levels, "small", normals(1)).transitions
    error = float(some.std()) / len(some) ** 0.5 + float(every.std()) / len(every) ** 0.5
    assert abs(float(some.mean() - every.mean())) < 3 * error < 0.03 * float(every.mean())
    assert float(some.std()) > 1.5 * float(every.std())
