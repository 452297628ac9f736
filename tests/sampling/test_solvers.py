"""All solvers alike: their orders and costs, every grid, float32, and no memory but the state they return."""

import math
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel, Prediction
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.schedule import flow, linear, schedules, ve
from unstir.sampling import DPMSolver, Sampler, UniPC, grid, sample, samplers, spacings, trajectory

MIXTURE = GaussianMixtureDenoiser(
    torch.tensor([[-0.6, 0.2, 0.4], [0.5, -0.5, 0.0], [0.1, 0.6, -0.5]]).double(),
    torch.tensor([0.3, 0.2, 0.25]).double(),
    torch.tensor([0.4, 0.35, 0.25]).double(),
)
Z = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
STOCHASTIC = ("ddpm", "dpm++sde", "langevin", "pc")
DETERMINISTIC = [name for name in samplers.known if name not in STOCHASTIC]


def solver(name: str) -> Sampler:
    """The solver as it is without options, to which schedule and steps do not matter."""
    return samplers[name]().build(linear(), 1)


def no_noise(like: Tensor) -> Tensor:
    raise AssertionError("a deterministic sampler asked for noise")


def prior(level: NoiseLevel) -> Tensor:
    return Z * (level.alpha**2 + level.sigma**2).sqrt()


Levels = Callable[[int], list[NoiseLevel]]


def drawn(sampler: Sampler, levels: list[NoiseLevel]) -> Tensor:
    return sample(MIXTURE, prior(levels[0]), levels, sampler, no_noise)


@cache
def on(schedule: str, spacing: str) -> Levels:
    return lambda steps: grid(schedules[schedule](), steps, spacing)


@cache
def exact(levels: Levels, steps: int) -> Tensor:
    """The end of the trajectory over a fine grid; all have the same two ends."""
    return drawn(UniPC(3), levels(steps))


def order(sampler: Sampler, levels: Levels, few: int = 40, many: int = 160, finest: int = 500) -> float:
    """The exponent at which the mean error falls from few steps to many."""
    errors = [(drawn(sampler, levels(steps)) - exact(levels, finest)).abs().mean().item() for steps in (few, many)]
    return math.log(errors[0] / errors[1]) / math.log(many / few)


ORDERS = [
    ("ddim", 0.9, 1.1),
    ("euler", 0.9, 1.1),
    ("heun", 1.8, 2.4),
    ("plms", 1.8, 2.4),
    ("dpm++2m", 1.8, 2.4),
    ("dpm++3m", 2.8, 3.5),
    ("unipc", 2.8, 4.8),  # third, and nearly fourth while the first step's error is small
]


@pytest.mark.parametrize("name,least,most", ORDERS)
@pytest.mark.parametrize(
    "schedule,spacing",
    [("vp", "log_snr"), ("vp", "karras"), ("vp", "quadratic"), ("ve", "linspace"), ("cosine", "log_snr")],
)
def test_the_order_is_as_promised(name: str, least: float, most: float, schedule: str, spacing: str) -> None:
    assert least < order(solver(name), on(schedule, spacing)) < most


def test_unipc_is_of_third_order_and_seems_of_fourth_from_much_noise() -> None:
    assert 2.8 < order(UniPC(2), on("vp", "log_snr")) < 3.5
    assert 3.5 < order(UniPC(3), on("vp", "log_snr")) < 4.8
    assert 2.9 < order(UniPC(3), partial(midway, start=0.2)) < 3.2


@pytest.mark.parametrize("name,least", [("ddim", 0.9), ("heun", 1.8), ("plms", 1.5), ("dpm++2m", 1.8)])
def test_the_order_from_exactly_no_signal(name: str, least: float) -> None:
    assert grid(flow(), 40, "linspace")[0].alpha == 0
    assert order(solver(name), on("flow", "linspace"), finest=1000) > least


@cache
def midway(steps: int, start: float = 0.4) -> list[NoiseLevel]:
    """From the middle of the noise, where the first step's error counts, to little noise."""
    schedule = schedules["vp"]()
    first, last = schedule(start).log_snr, schedule(0.02).log_snr
    return [schedule(schedule.time(first + (last - first) * i / steps)) for i in range(steps + 1)]


@pytest.mark.parametrize("name,least,most", ORDERS)
def test_the_order_from_midway(name: str, least: float, most: float) -> None:
    assert least < order(solver(name), midway) < most


def test_a_start_left_uncorrected_would_cost_the_third_order() -> None:
    class Uncorrected(DPMSolver):
        def step(self, denoise, x, here, there, state, noise):  # type: ignore[no-untyped-def]
            solver = DPMSolver(2) if len(state.points) == 1 else super()
            return solver.step(denoise, x, here, there, state, noise)

    assert order(Uncorrected(3), midway) < 2.4


class Counted:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor, level: NoiseLevel) -> Prediction:
        self.calls += 1
        return MIXTURE(x, level)


@pytest.mark.parametrize("name", samplers.known)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_network_is_asked_as_often_as_documented(name: str, steps: int) -> None:
    counted = Counted()
    levels = grid(linear(), steps)
    sample(counted, prior(levels[0]), levels, solver(name), torch.randn_like)
    more = {"heun": steps - 1, "plms": min(steps - 1, 1), "pc": steps - 1, "langevin": 4 * steps + 1}
    assert counted.calls == (1 if steps == 1 else steps + more.get(name, 0)) == samplers[name]().evaluations(steps)


MEAN, STD = 0.3, 0.4
GAUSSIAN = GaussianMixtureDenoiser(
    torch.tensor([[MEAN]]).double(), torch.tensor([STD]).double(), torch.ones(1).double()
)
QUANTILES = torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(-1, 1)


def of_gaussian(name: str, levels: list[NoiseLevel], dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw from N(MEAN, STD^2), where the flow carries quantile to quantile."""
    top = levels[0]
    x = top.alpha * MEAN + (top.alpha**2 * STD**2 + top.sigma**2).sqrt() * QUANTILES
    return sample(GAUSSIAN, x.to(dtype), levels, solver(name), no_noise)


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize(
    "schedule", ["linear", *(pytest.param(n, marks=pytest.mark.slow) for n in ("cosine", "ve", "flow"))]
)
def test_every_grid_leads_to_the_exact_answer(name: str, schedule: str) -> None:
    right = MEAN + STD * QUANTILES
    for spacing in spacings:
        few, many = (
            (of_gaussian(name, grid(schedules[schedule](), steps, spacing)) - right).abs().max()
            for steps in (15, 100)
        )
        assert many < 0.06 and many < max(0.4 * few, 1e-3), spacing


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("schedule", ["linear", "cosine", "ve", "flow"])
def test_float32_is_safe_at_both_ends(name: str, schedule: str) -> None:
    for spacing in spacings:
        for steps in (2, 5, 20):
            levels = grid(schedules[schedule](), steps, spacing)
            single, double = of_gaussian(name, levels, torch.float32), of_gaussian(name, levels)
            assert single.dtype == torch.float32
            assert (single - double).abs().max().item() < 1e-4 * max(1.0, double.abs().max().item()), spacing


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("steps", [5, 20, pytest.param(50, marks=pytest.mark.slow)])
def test_float32_is_safe_from_much_noise(name: str, steps: int) -> None:
    """Where sigma / alpha falls from 1e8 and more, the last bit of a prediction must not grow with it."""
    for schedule in (linear(2000), linear(4000), linear(8000), ve(0.01, 1e6)):
        for spacing in ("trailing", "log_snr", "quadratic"):
            levels = grid(schedule, steps, spacing)
            single, double = of_gaussian(name, levels, torch.float32), of_gaussian(name, levels)
            assert (single - double).abs().max().item() < 1e-4 * max(1.0, double.abs().max().item()), spacing


@pytest.mark.parametrize("name", ["heun", "plms", "dpm++2m", "dpm++3m", "unipc"])
def test_nothing_is_remembered_but_the_state(name: str) -> None:
    levels = grid(linear(), 9)
    sampler = solver(name)
    alone = [step.x for step in trajectory(MIXTURE, prior(levels[0]), levels, sampler, no_noise)]
    other = prior(levels[0]).flip(0)
    for mine, step, _ in zip(
        alone,
        trajectory(MIXTURE, prior(levels[0]), levels, sampler, no_noise),
        trajectory(MIXTURE, other, levels, sampler, no_noise),
    ):
        assert torch.equal(step.x, mine)


@pytest.mark.parametrize("name", ["heun", "plms", "dpm++2m", "dpm++3m", "dpm++sde", "unipc"])
def test_a_state_may_be_stepped_from_twice(name: str) -> None:
    levels = grid(linear(), 6)
    sampler = solver(name)
    x = prior(levels[0])
    state = sampler.init(x, levels[0])
    for here, there in pairwise(levels[:4]):
        x, state = sampler.step(MIXTURE, x, here, there, state, torch.zeros_like)
    once, _ = sampler.step(MIXTURE, x, levels[3], levels[4], state, torch.zeros_like)
    again, _ = sampler.step(MIXTURE, x, levels[3], levels[4], state, torch.zeros_like)
    assert torch.equal(once, again)


@pytest.mark.parametrize("name", samplers.known)
def test_an_image_does_not_depend_on_its_neighbours(name: str) -> None:
    levels = grid(schedules["cosine"](), 8)
    x = prior(levels[0])

    def noise(like: Tensor) -> Tensor:
        return torch.full_like(like, 0.7)

    together = sample(MIXTURE, x, levels, solver(name), noise)
    torch.testing.assert_close(sample(MIXTURE, x[5:6], levels, solver(name), noise), together[5:6])
