"""DPM-Solver++: first order is DDIM, and with fresh noise it draws from the mixture with fewer steps."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from unstir.diffusion import Prediction
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.noise_level import NoiseLevel
from unstir.diffusion.schedule import schedules
from unstir.errors import InputError
from unstir.sampling import DDIM, DPMSolver, UniPC, grid, spacings, trajectory


def normal(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 2, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fake(x: Tensor, level: NoiseLevel) -> Prediction:
    """A nonlinear prediction of a bounded image."""
    return Prediction.from_x0(torch.tanh(1.3 * x.flip(-1) - x.roll(1, 1) + 2 * level.t), x, level)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("spacing", sorted(spacings))
@pytest.mark.parametrize("name", sorted({*schedules} - {"single"}))  # which knows one level alone
def test_the_first_order_is_ddim(name: str, spacing: str, eta: float) -> None:
    levels = grid(schedules[name](), 13, spacing)
    x, noises = normal(1)[0] * levels[0].sigma, normal(13, seed=1)
    walks = []
    for sampler in (DPMSolver(1, eta), DDIM(eta)):
        left = iter(noises)
        walks.append([step.x for step in trajectory(fake, x, levels, sampler, lambda _, left=left: next(left))])
    for mine, theirs in zip(*walks, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_the_predictor_of_unipc_is_the_multistep_solver() -> None:
    levels = grid(schedules["linear"](), 8)
    x, points = normal(1)[0], tuple(zip(levels[:2], normal(2, seed=1)))
    state = DPMSolver(3).init(x, levels[0])._replace(points=points)
    mine, _ = DPMSolver(3).step(fake, x, levels[2], levels[3], state, torch.zeros_like)
    predicted, memory = UniPC(3).step(fake, x, levels[2], levels[3], state, torch.zeros_like)
    # The corrector has moved the image that the step begins from, and that alone.
    moved = (memory.x - x) * levels[3].sigma / levels[2].sigma
    torch.testing.assert_close(predicted - moved, mine)


def variance_error(sampler: DPMSolver | DDIM, steps: int) -> float:
    """How far the last variance lies from the right one, for data N(0, s^2), from the exact moments of each step.

    There a step is linear in the image, the last prediction and the noise, so the covariance of the first two
    follows without sampling.
    """
    std = 0.5
    one = torch.ones(1, dtype=torch.float64)
    denoise = GaussianMixtureDenoiser(0 * one[:, None], std * one, one)
    schedule = schedules["vp"]()
    levels = grid(schedule, steps, "log_snr")[:-1]
    basis = torch.eye(3, dtype=torch.float64)[..., None]  # of the image, the last prediction and the noise
    x, last, fresh = (basis[:, i] for i in range(3))
    top = levels[0]
    covariance = torch.zeros(2, 2, dtype=torch.float64)
    covariance[0, 0] = top.alpha**2 * std**2 + top.sigma**2
    for i, (here, there) in enumerate(pairwise(levels)):
        state = sampler.init(x, here)
        if i and state is not None:
            state = state._replace(points=((levels[i - 1], last),))
        moved, _ = sampler.step(denoise, x, here, there, state, lambda _: fresh)
        rows = torch.stack([moved[:, 0], denoise(x, here).x0[:, 0]])
        covariance = rows[:, :2] @ covariance @ rows[:, :2].T + rows[:, 2:] @ rows[:, 2:].T
    end = levels[-1]
    return abs(covariance[0, 0].item() / (end.alpha**2 * std**2 + end.sigma**2).item() - 1)


def test_with_fresh_noise_the_second_order_pays_in_the_distribution() -> None:
    first = [variance_error(DPMSolver(1, 1.0), steps) for steps in (40, 160)]
    second = [variance_error(DPMSolver(2, 1.0), steps) for steps in (40, 160)]
    assert first[0] / first[1] == pytest.approx(4, rel=0.25)
    assert second[0] / second[1] > 10
    assert second[0] < first[0] / 3


@pytest.mark.parametrize("order,eta", [(0, 0.0), (4, 0.0), (2, -0.1), (2, 1.1), (3, 0.5), (2, float("nan"))])
def test_what_it_cannot_do_is_refused(order: int, eta: float) -> None:
    with pytest.raises(InputError, match=r"DPM-Solver\+\+"):
        DPMSolver(order, eta)


@pytest.mark.parametrize("order", [1, 4])
def test_unipc_has_two_orders(order: int) -> None:
    with pytest.raises(InputError, match="2 or 3"):
        UniPC(order)
