"""Corruptions against what they promise, and the best answers to them against what is known in closed form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from unstir.diffusion import Denoiser, NoiseLevel
from unstir.diffusion.corruption import corruptions, gaussian, masking, salt_and_pepper
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.objective import SquaredError
from unstir.diffusion.parameterization import X0
from unstir.diffusion.schedule import linear, single


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X0_IMAGES = noise(8, 3, 40, 40, seed=1).clamp(-0.9, 0.9)
"""Images without a black or a white pixel."""


@pytest.mark.parametrize("amount", [0.1, 0.5, 0.9])
def test_masking_turns_a_share_of_the_pixels_black_and_leaves_the_others(amount: float) -> None:
    x = masking(X0_IMAGES, single(amount)(1.0), noise(8, 3, 40, 40))
    black = x == -1
    assert torch.equal(x[~black], X0_IMAGES[~black])
    assert black.double().mean().item() == pytest.approx(amount, abs=0.015)  # 4 deviations of 12,800 pixels
    assert torch.equal(black.all(1), black.any(1))  # a pixel's channels go together


@pytest.mark.parametrize("amount", [0.1, 0.6, 1.0])
def test_salt_and_pepper_are_equally_many(amount: float) -> None:
    x = salt_and_pepper(X0_IMAGES, single(amount)(1.0), noise(8, 3, 40, 40))
    for value in (-1, 1):
        struck = x == value
        assert struck.double().mean().item() == pytest.approx(amount / 2, abs=0.018)
        assert torch.equal(struck.all(1), struck.any(1))
    rest = x.abs() < 1
    assert torch.equal(x[rest], X0_IMAGES[rest])


def test_gaussian_is_the_forward_process() -> None:
    eps = noise(8, 3, 40, 40)
    assert torch.equal(gaussian(X0_IMAGES, single(0.3)(1.0), eps), X0_IMAGES + 0.3 * eps)
    level = linear().level(torch.arange(100, 900, 100))
    assert torch.equal(gaussian(X0_IMAGES, level, eps), level.noise(X0_IMAGES, eps))


@pytest.mark.parametrize("name", corruptions)
def test_each_image_has_its_own_level(name: str) -> None:
    eps, amounts = noise(8, 3, 40, 40), torch.linspace(0.1, 0.8, 8, dtype=torch.float64)
    one = torch.ones(8, dtype=torch.float64)
    together = corruptions[name](X0_IMAGES, NoiseLevel(one, one, amounts), eps)
    for i, amount in enumerate(amounts.tolist()):
        alone = corruptions[name](X0_IMAGES[i : i + 1], single(amount)(1.0), eps[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-12, atol=1e-12)


# The best answer


def test_optimal_denoising_is_a_step_along_the_score() -> None:
    means, stds = noise(5, 3, seed=2), torch.tensor([0.1, 0.3, 0.05, 0.2, 0.4], dtype=torch.float64)
    weights = torch.tensor([0.1, 0.3, 0.2, 0.3, 0.1], dtype=torch.float64)
    exact, sigma = GaussianMixtureDenoiser(means, stds, weights), 0.45
    x = noise(20, 3, seed=3).requires_grad_()
    components = torch.distributions.Independent(
        torch.distributions.Normal(means, (stds**2 + sigma**2).sqrt()[:, None].expand(5, 3)), 1
    )
    q = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(weights), components)
    (score,) = torch.autograd.grad(q.log_prob(x).sum(), x)
    moved = exact(x.detach(), single(sigma)(1.0)).x0 - x.detach()
    torch.testing.assert_close(moved, sigma**2 * score, rtol=1e-10, atol=1e-12)


class Answer(nn.Module):
    """A network that answers by a formula of the pixels."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor, t: Tensor, sockets: object) -> Tensor:
        return self.formula(x)


def loss(name: str, amount: float, x0: Tensor, formula: Callable[[Tensor], Tensor]) -> float:
    denoiser = Denoiser(Answer(formula), X0(), single(amount))
    objective = SquaredError("x0", corrupt=corruptions[name])
    return objective(denoiser, x0, denoiser.schedule(1.0), noise(*x0.shape, seed=5), None).mean().item()


def test_the_loss_of_the_best_answer_to_gaussian_noise_is_the_posteriors_variance() -> None:
    s, sigma = 0.6, 0.4
    x0 = s * noise(4000, 1, 8, 8, seed=4)
    slope = s**2 / (s**2 + sigma**2)
    best = loss("gaussian", sigma, x0, lambda x: slope * x)
    assert best == pytest.approx(s**2 * sigma**2 / (s**2 + sigma**2), rel=0.01)
    for other in (0.9 * slope, 1.1 * slope):
        assert loss("gaussian", sigma, x0, lambda x, other=other: other * x) > best


@pytest.mark.parametrize(
    ("name", "lost", "false_white"), [("masking", 0.4, 0.0), ("salt_and_pepper", 0.2, 0.2)], ids=str
)
def test_the_loss_of_the_best_answer_on_independent_pixels(name: str, lost: float, false_white: float) -> None:
    # Pixels are white with probability 0.3 and black otherwise; of the white ones a share is lost, of the black
    # ones a share turns white. Bayes' rule gives the best answer and its error.
    white = 0.3
    uniform = torch.rand(4000, 1, 8, 8, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    x0 = torch.where(uniform < white, 1.0, -1.0).double()
    seen_white = white * (1 - lost) + (1 - white) * false_white
    if_white, if_black = white * (1 - lost) / seen_white, white * lost / (1 - seen_white)
    expected = 4 * (seen_white * if_white * (1 - if_white) + (1 - seen_white) * if_black * (1 - if_black))
    found = loss(name, 0.4, x0, lambda x: 2 * torch.where(x < 0, if_black, if_white).double() - 1)
    assert found == pytest.approx(expected, rel=0.01)
