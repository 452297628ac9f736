"""The ceiling is a linear denoiser's own error, and no linear denoiser's is lower."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unstir.diffusion.schedule import cosine
from unstir.doctor.gaussian import MOST_EXACT, Gaussian


def correlated(n: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Images whose pixels go together with their neighbours', and whose colours with each other."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    for axis in (-1, -2):
        x = x + x.roll(1, axis) + 0.5 * x.roll(2, axis)
    return 0.2 * x + 0.3 * x.mean(1, keepdim=True) + torch.linspace(-0.5, 0.5, shape[-1], dtype=torch.float64)


@pytest.mark.parametrize("n", [100, 500, 900])
def test_it_is_the_error_of_the_best_linear_denoiser(n: int) -> None:
    """Which is found here by least squares, from noised pairs alone."""
    shape, level = (1, 4, 5), cosine().level(n)
    train, held = correlated(40_000, shape), correlated(20_000, shape, seed=1)
    alpha, sigma = float(level.alpha), float(level.sigma)
    generator = torch.Generator().manual_seed(2)

    def noised(x: Tensor) -> Tensor:
        seen = alpha * x + sigma * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return torch.cat([seen.flatten(1), torch.ones(len(x), 1, dtype=x.dtype)], 1)

    fit = torch.linalg.lstsq(noised(train), train.flatten(1)).solution
    error = (noised(held) @ fit - held.flatten(1)).pow(2).mean()
    assert Gaussian(train, held).ceiling(level) == pytest.approx(float(error), rel=0.02)


def test_waves_know_about_as_much_as_eigenvectors_and_more_than_pixels() -> None:
    level, shape = cosine().level(600), (3, 12, 12)
    train, held = correlated(3000, shape), correlated(500, shape, seed=1)
    exact = Gaussian(train, held).ceiling(level)
    assert train[0].numel() <= MOST_EXACT
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unstir.doctor.gaussian.MOST_EXACT", 0)
        waves = Gaussian(train, held).ceiling(level)
    variance = (held - train.mean(0)).pow(2).mean()
    alone = float(variance * level.sigma**2 / (level.alpha**2 * variance + level.sigma**2))
    assert waves == pytest.approx(exact, rel=0.05) and max(exact, waves) < 0.8 * alone


def test_it_scales_with_the_images() -> None:
    train, held = correlated(2000, (1, 4, 4)), correlated(500, (1, 4, 4), seed=1)
    own, level = Gaussian(train, held), cosine().level(400)
    tripled = Gaussian(3 * train, 3 * held).ceiling(level)
    assert own.ceiling(level, scale=3) == pytest.approx(tripled, rel=1e-9)
    assert own.ceiling(cosine().level(1000)) == pytest.approx(float(own.seen.mean()), rel=0.01)


@pytest.mark.parametrize("most_exact", [MOST_EXACT, 0])
def test_what_it_believes_has_the_error_that_it_states(most_exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unstir.doctor.gaussian.MOST_EXACT", most_exact)
    level, shape = cosine().level(500), (3, 6, 8)
    train, held = correlated(4000, shape), correlated(4000, shape, seed=1)
    own = Gaussian(train, held)
    generator = torch.Generator().manual_seed(2)
    x = float(level.alpha) * held + float(level.sigma) * torch.randn(
        held.shape, generator=generator, dtype=held.dtype
    )
    error = float((own.denoise(x, level) - held).pow(2).mean())
    assert error == pytest.approx(own.ceiling(level), rel=0.02)
