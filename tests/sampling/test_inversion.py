"""Inversion: images become noise, and DDIM brings them back, the nearer the more steps."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel, Prediction, Schedule
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.schedule import cosine, flow, linear, ve
from unstir.sampling import DDIM, grid, invert, sample

DOCS = Path(__file__).parents[2] / "docs"
MIXTURE = GaussianMixtureDenoiser(
    torch.tensor([[-0.6, 0.2, 0.4], [0.5, -0.5, 0.0]]).double(),
    torch.tensor([0.3, 0.2]).double(),
    torch.tensor([0.4, 0.6]).double(),
)
IMAGES = MIXTURE.sample(200, torch.Generator().manual_seed(0))


def there_and_back(schedule: Schedule, steps: int, spacing: str = "trailing") -> float:
    levels = grid(schedule, steps, spacing)
    noise = invert(MIXTURE, IMAGES, levels)
    return (sample(MIXTURE, noise, levels, DDIM(), torch.zeros_like) - IMAGES).abs().mean().item()


@pytest.mark.parametrize("schedule", [linear, cosine])
def test_the_way_back_is_the_image_the_nearer_the_more_steps(schedule: Callable[[], Schedule]) -> None:
    """Both ways are of first order: twice the steps, half the error; the documentation says how large it is."""
    errors = [there_and_back(schedule(), steps) for steps in (10, 20, 50, 100, 200, 500)]
    told = (DOCS / "solvers.md").read_text().split(f"| `{schedule.__name__}` | ")[1].split("\n")[0]
    assert errors == pytest.approx([float(error) for error in told.strip(" |").split(" | ")], abs=6e-4)
    order = math.log(errors[0] / errors[-1]) / math.log(50)
    assert 0.8 < order < 1.1


def flowed_by_hand(levels: Sequence[NoiseLevel], x0: float, mean: float, std: float) -> tuple[float, float]:
    """Inversion and its way back for pixels of N(mean, std^2), in plain numbers, with s = sigma / alpha.

    There eps(x) = sigma (x - alpha mean) / (alpha^2 std^2 + sigma^2), and a step of DDIM adds to x / alpha the
    change of s times eps.
    """
    steps = [(float(level.alpha), float(level.sigma)) for level in levels[:-1]]

    def eps(y: float, alpha: float, sigma: float) -> float:
        return sigma * (alpha * y - alpha * mean) / (alpha**2 * std**2 + sigma**2)

    # Up: the first step takes the prediction at its end, of the clean image as it is.
    alpha, sigma = steps[-1]
    y = x0 + sigma / alpha * eps(x0 / alpha, alpha, sigma)
    for (a, s), (alpha, sigma) in pairwise(steps[::-1]):
        y += (sigma / alpha - s / a) * eps(y, a, s)
    noise = alpha * y
    for (a, s), (alpha, sigma) in pairwise(steps):
        y += (sigma / alpha - s / a) * eps(y, a, s)
    return noise, y - sigma / alpha * eps(y, alpha, sigma)


@pytest.mark.parametrize("schedule", [linear, cosine, ve])
@pytest.mark.parametrize("steps", [1, 2, 10, 100])
def test_both_ways_are_those_worked_out_by_hand(schedule: Callable[[], Schedule], steps: int) -> None:
    mean, std, images = 0.3, 0.4, torch.linspace(-1, 1, 5, dtype=torch.float64).reshape(-1, 1)
    denoise = GaussianMixtureDenoiser(
        torch.tensor([[mean]]).double(), torch.tensor([std]).double(), torch.ones(1).double()
    )
    levels = grid(schedule(), steps)
    noise = invert(denoise, images, levels)
    back = sample(denoise, noise, levels, DDIM(), torch.zeros_like)
    expected = torch.tensor([flowed_by_hand(levels, float(x0), mean, std) for x0 in images]).double()
    torch.testing.assert_close(torch.cat([noise, back], dim=1), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("spacing", ["leading", "quadratic", "karras", "log_snr"])
@pytest.mark.parametrize("schedule", [linear, cosine, ve, flow])
def test_any_grid_will_do(schedule: Callable[[], Schedule], spacing: str) -> None:
    assert there_and_back(schedule(), 200, spacing) < 0.03


def test_the_noise_is_that_of_the_exact_flow() -> None:
    # For data N(m, s^2) the flow carries quantile to quantile: x = alpha m + sqrt(v) z for x0 = m + s z.
    mean, std = 0.3, 0.4
    denoise = GaussianMixtureDenoiser(
        torch.tensor([[mean]]).double(), torch.tensor([std]).double(), torch.ones(1).double()
    )
    z = torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(-1, 1)
    levels = grid(linear(), 1000)
    noise = invert(denoise, mean + std * z, levels)
    top = levels[0]
    exact = top.alpha * mean + (top.alpha**2 * std**2 + top.sigma**2).sqrt() * z
    torch.testing.assert_close(noise, exact, rtol=0, atol=0.02)


def test_the_first_step_takes_the_prediction_at_the_cleanest_level() -> None:
    levels, asked = grid(linear(), 4), []

    def denoise(x: Tensor, level: NoiseLevel) -> Prediction:
        asked.append((x, level))
        return MIXTURE(x, level)

    invert(denoise, IMAGES, levels)
    assert [level for _, level in asked] == [levels[3], levels[3], levels[2], levels[1]]
    assert torch.equal(asked[0][0], IMAGES) and asked[0][1] is levels[3]
    first = levels[3].noise(IMAGES, MIXTURE(IMAGES, levels[3]).eps)
    torch.testing.assert_close(asked[1][0], first)


def test_pure_noise_can_be_reached() -> None:
    levels = grid(flow(), 50)
    assert levels[0].alpha == 0
    noise = invert(MIXTURE, IMAGES, levels)
    assert noise.mean().item() == pytest.approx(0, abs=0.2) and noise.std().item() == pytest.approx(1, rel=0.1)


def test_a_single_step_is_the_first() -> None:
    levels = grid(linear(), 1)
    expected = levels[0].noise(IMAGES, MIXTURE(IMAGES, levels[0]).eps)
    torch.testing.assert_close(invert(MIXTURE, IMAGES, levels), expected)
