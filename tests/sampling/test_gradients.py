"""Gradients flow through sampling: a guidance differentiates the denoiser at every call of every solver.

For data N(m, s^2) and an observation y = x0 + r n of each image, the posterior of x0 is a Gaussian, so its exact
denoiser is known. Guided by the gradient of log p(y | x), the prior's denoiser must be that one: since x0 given x
has the mean x0^ and the variance V = s^2 sigma^2 / (alpha^2 s^2 + sigma^2),

    log p(y | x) = -|y - x0^(x)|^2 / (2 (V + r^2)),   eps = eps^ - sigma * grad log p(y | x).
"""

import pytest
import torch
from torch import Tensor, nn

from unstir.diffusion import Denoise, Denoiser, NoiseLevel, Prediction, on_any_schedule
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.noise_level import broadcast
from unstir.diffusion.parameterization import X0
from unstir.diffusion.schedule import flow, linear, vp
from unstir.sampling import SeededNoise, grid, invert, langevin, sample, samplers, trajectory
from unstir.sampling.config import SamplingConfig
from unstir.sampling.draw import Course, make_denoise, walk, walk_back

M, S, R = 0.3, 0.5, 0.4
Y = torch.tensor([[0.9, -0.7, 0.1], [-1.2, 0.4, 0.6]]).double()


def gaussian(mean: Tensor, std: float) -> GaussianMixtureDenoiser:
    return GaussianMixtureDenoiser(mean[None], torch.tensor([std]).double(), torch.ones(1).double())


PRIOR = gaussian(torch.full((3,), M).double(), S)


def posterior(x: Tensor, level: NoiseLevel) -> Prediction:
    """The exact denoiser of each image's own posterior."""
    mean, std = (S**2 * Y + R**2 * M) / (S**2 + R**2), S * R / (S**2 + R**2) ** 0.5
    each = [gaussian(mean[i], std)(x[i : i + 1], level) for i in range(len(x))]
    return Prediction(torch.cat([p.x0 for p in each]), torch.cat([p.eps for p in each]), level)


def observed(denoise: Denoise, y: Tensor = Y) -> Denoise:
    """The guidance by the observation, from gradients through ``denoise``."""

    def guided(x: Tensor, level: NoiseLevel) -> Prediction:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            x0 = denoise(x, level).x0
            variance = S**2 * level.sigma**2 / (level.alpha**2 * S**2 + level.sigma**2)
            potential = ((y - x0) ** 2).sum() / (2 * (variance + R**2))
            (slope,) = torch.autograd.grad(potential, x)
        x0, x = x0.detach(), x.detach()
        alpha, sigma = level.coefficients(x)
        eps = (x - alpha * x0) / sigma + sigma * slope
        return Prediction((x - sigma * eps) / alpha, eps, level)

    return guided


def start(level: NoiseLevel) -> tuple[Tensor, SeededNoise]:
    noise = SeededNoise([3, 4])
    return noise(Y) * (level.alpha**2 + level.sigma**2).sqrt(), noise


@pytest.mark.parametrize("name", samplers.known)
def test_a_guidance_differentiates_the_denoiser_through_a_whole_trajectory(name: str) -> None:
    levels = grid(linear(), 6)
    solver = samplers[name]().build(linear(), 6)
    x, noise = start(levels[0])
    steps = list(trajectory(observed(PRIOR), x, levels, solver, noise))
    x, noise = start(levels[0])
    right = sample(posterior, x, levels, solver, noise)
    torch.testing.assert_close(steps[-1].x, right, rtol=1e-6, atol=1e-6)
    assert not any(step.x.requires_grad or step.x.is_inference() for step in steps)


def test_churn_lets_gradients_through() -> None:
    levels = grid(linear(), 6)
    solver = SamplingConfig().with_options({"sampler": "heun", "churn": 2.0, "steps": 6}).build(linear())
    x, noise = start(levels[0])
    guided = sample(observed(PRIOR), x, levels, solver, noise)
    x, noise = start(levels[0])
    torch.testing.assert_close(guided, sample(posterior, x, levels, solver, noise), rtol=1e-6, atol=1e-6)


def test_inversion_lets_gradients_through() -> None:
    levels = grid(linear(), 8)
    noise = invert(observed(PRIOR), Y, levels)
    torch.testing.assert_close(noise, invert(posterior, Y, levels), rtol=1e-6, atol=1e-6)
    assert not noise.requires_grad and not noise.is_inference()


def test_langevin_lets_gradients_through() -> None:
    level = linear()(0.2)
    guided = langevin(observed(PRIOR), Y, level, 0.01, 5, SeededNoise([1, 2]))
    torch.testing.assert_close(guided, langevin(posterior, Y, level, 0.01, 5, SeededNoise([1, 2])))
    assert not guided.requires_grad and not guided.is_inference()


def test_a_change_of_schedule_lets_gradients_through() -> None:
    def on_flow(x: Tensor, level: NoiseLevel) -> Prediction:
        return on_any_schedule(PRIOR, vp())(x, level)

    levels = grid(flow(), 7)[1:]
    x, noise = start(levels[0])
    solver = samplers["ddim"]().build(flow(), 6)
    guided = sample(observed(on_flow), x, levels, solver, noise)
    torch.testing.assert_close(guided, sample(posterior, x, levels, solver, noise), rtol=1e-6, atol=1e-6)


class Exact(nn.Module):
    """The exact prediction for N(M, S^2) as a network, whose weight is 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor, sockets: object) -> Tensor:
        level = linear()(t)
        alpha, sigma = level.coefficients(x)
        gain = alpha * S**2 / (alpha**2 * S**2 + sigma**2)
        return self.weight * (M + gain * (x - alpha * M))


DENOISER = Denoiser(Exact(), X0(), linear())
IMAGES = Y.reshape(2, 3, 1, 1)


def test_a_denoiser_has_gradients_wherever_they_are_on() -> None:
    level = linear()(0.4)
    x = IMAGES.clone().requires_grad_()
    DENOISER(x, level).x0.sum().backward()
    gain = level.alpha * S**2 / (level.alpha**2 * S**2 + level.sigma**2)
    torch.testing.assert_close(x.grad, broadcast(gain, x).expand_as(x))


@pytest.mark.parametrize("schedule", [None, "vp"])
def test_a_guide_stands_after_the_schedule_change_and_before_clipping(schedule: str | None) -> None:
    asked: list[NoiseLevel] = []

    def guide(denoise: Denoise) -> Denoise:
        def guided(x: Tensor, level: NoiseLevel) -> Prediction:
            asked.append(level)
            return Prediction.from_x0(denoise(x, level).x0 + 3, x, level)

        return guided

    level = linear()(0.4) if schedule is None else vp()(0.4)
    config = SamplingConfig().with_options({"schedule": schedule})
    clipped = make_denoise(DENOISER, None, config, guide)(IMAGES, level)
    assert torch.equal(clipped.x0, torch.ones_like(IMAGES)) and asked == [level]
    free = make_denoise(DENOISER, None, config.with_options({"clip": "none"}), guide)(IMAGES, level)
    torch.testing.assert_close(free.x0, PRIOR(IMAGES.flatten(1), level).x0.reshape(IMAGES.shape) + 3)


def test_a_walk_and_its_way_back_take_a_guide() -> None:
    config = SamplingConfig(steps=40, clip="none")
    guide_y = lambda denoise: observed(denoise, IMAGES)  # noqa: E731
    start = SeededNoise([3, 4])(IMAGES)
    *_, last = walk(DENOISER, (3, 1, 1), [3, 4], None, config, Course(lambda *_: start, guide_y))
    levels = grid(linear(), 40)
    right = sample(posterior, start.flatten(1), levels, config.build(linear()), torch.zeros_like)
    torch.testing.assert_close(last.x.flatten(1), right, rtol=1e-6, atol=1e-6)
    back = walk_back(DENOISER, last.x, None, config, guide=guide_y)
    torch.testing.assert_close(back.flatten(1), invert(posterior, right, levels), rtol=1e-6, atol=1e-6)
