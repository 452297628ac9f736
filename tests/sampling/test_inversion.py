"""Inversion: images become noise, and DDIM brings them back, the nearer the more steps."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel, Prediction, Schedule
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.schedule import cosine, flow, linear, ve
from unstir.sampling import DDIM, grid, invert, sample

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


@pytest.mark.parametrize(
    "schedule,expected",
    [
        # The mean error of a value in [-1, 1] after 10, 20, 50, 100, 200 and 500 steps.
        (linear, [0.1106, 0.0600, 0.0279, 0.0160, 0.0089, 0.0038]),
        (cosine, [0.0646, 0.0360, 0.0171, 0.0094, 0.0050, 0.0021]),
    ],
)
def test_the_way_back_is_the_image_the_nearer_the_more_steps(
    schedule: Callable[[], Schedule], expected: list[float]
) -> None:
    errors = [there_and_back(schedule(), steps) for steps in (10, 20, 50, 100, 200, 500)]
    assert errors == pytest.approx(expected, rel=0.02)


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
