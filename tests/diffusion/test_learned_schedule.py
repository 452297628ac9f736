"""Learned betas: levels that carry gradients, and a bound that falls."""

import pytest
import torch
from torch import Tensor

from unstir.diffusion import Denoiser, DiscreteSchedule, NoiseLevel
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.objective import Bound
from unstir.diffusion.schedule import LearnedSchedule, linear
from unstir.errors import InputError

STEPS = 12
MIXTURE = GaussianMixtureDenoiser(
    torch.tensor([[-0.6], [0.5]]).double(), torch.tensor([0.1, 0.2]).double(), torch.tensor([0.4, 0.6])
)


class Exact(Denoiser):
    """The exact denoiser of the mixture, under whatever schedule."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def forward(self, x: Tensor, level: NoiseLevel, condition: object = None):  # type: ignore[no-untyped-def,override]
        return MIXTURE(x, level)


def data(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x0 = MIXTURE.sample(n, generator).clamp(-1, 1)
    x0 = ((x0 + 1) * 127.5).round() / 127.5 - 1
    return x0, torch.randn(n, 1, generator=generator, dtype=torch.float64)


def whole_bound(schedule: DiscreteSchedule, x0: Tensor, eps: Tensor) -> Tensor:
    """Return the bound, each image taken at every level with the same noise."""
    n = torch.arange(1, schedule.steps + 1).repeat_interleave(len(x0))
    x0, eps = x0.repeat(schedule.steps, 1), eps.repeat(schedule.steps, 1)
    return Bound(schedule, "small")(Exact(), x0, schedule.level(n), eps, None).mean()


def test_starts_as_its_schedule_and_always_falls() -> None:
    start = linear(STEPS, 1e-3, 0.3)
    schedule = LearnedSchedule(start)
    torch.testing.assert_close(schedule.betas, start.betas, rtol=1e-6, atol=0)
    torch.testing.assert_close(schedule.alphas_cumprod, start.alphas_cumprod, rtol=1e-6, atol=0)
    for t in (0.0, 0.13, 0.5, 1.0):
        torch.testing.assert_close(schedule(t).alpha, start(t).alpha, rtol=1e-6, atol=0)
        log_snr = start(t).log_snr
        torch.testing.assert_close(schedule.time(log_snr), start.time(log_snr), rtol=0, atol=1e-6)
    with torch.no_grad():
        schedule.logits.normal_(std=6.0, generator=torch.Generator().manual_seed(0))
    alpha_bar = schedule.level(torch.arange(STEPS + 1)).alpha
    assert bool((alpha_bar[1:] < alpha_bar[:-1]).all() & (alpha_bar >= 0).all())
    assert schedule.betas[0] == 1e-3


def test_pure_noise_cannot_be_learned() -> None:
    with pytest.raises(InputError, match="pure noise"):
        LearnedSchedule(DiscreteSchedule(torch.tensor([0.1, 1.0])))


def test_gradients_of_the_betas_are_finite_differences() -> None:
    x0, eps = data(20)
    schedule = LearnedSchedule(linear(STEPS, 1e-2, 0.3))
    schedule.logits.data = schedule.logits.data.double()
    (found,) = torch.autograd.grad(whole_bound(schedule, x0, eps), schedule.logits)
    expected = torch.zeros_like(found)
    with torch.no_grad():
        for i in range(STEPS - 1):
            ends = []
            for step in (1e-4, -1e-4):
                schedule.logits[i] += step
                ends.append(whole_bound(schedule, x0, eps))
                schedule.logits[i] -= step
            expected[i] = (ends[0] - ends[1]) / 2e-4
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert bool((found.abs() > 1e-4).all())


def test_learning_the_betas_lowers_the_bound_on_images_not_learned_from() -> None:
    schedule = LearnedSchedule(linear(STEPS, 1e-3, 0.4))
    held_out = data(2000, seed=1)
    before = float(whole_bound(schedule, *held_out))
    optimizer = torch.optim.Adam(schedule.parameters(), lr=0.05)
    for step in range(150):
        optimizer.zero_grad()
        whole_bound(schedule, *data(200, seed=10 + step)).backward()
        optimizer.step()
    after = float(whole_bound(schedule, *held_out))
    assert after < before - 0.2
