"""Parameterizations are inverse pairs at every level, both ends included, and mean what the papers say."""

import pytest
import torch
from torch import Tensor

from unstir.diffusion import DiscreteSchedule, NoiseLevel, Schedule
from unstir.diffusion.parameterization import parameterization
from unstir.diffusion.posterior import posterior
from unstir.diffusion.schedule import flow, linear, schedules, ve, vp
from unstir.errors import InputError

NAMES = ["eps", "x0", "v", "score", "mean", "karras"]
KNOWS_X0_AT_PURE_NOISE = {"x0", "v", "mean", "karras"}
KNOWS_EPS_AT_CLEAN_DATA = {"eps", "v", "karras"}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def every_level(name: str) -> tuple[Schedule, NoiseLevel]:
    """A schedule and all its levels: n = 0..T, or a fine grid over [0, 1]."""
    if name == "zero terminal":
        schedule: Schedule = DiscreteSchedule(torch.cat([linear(30).betas, torch.ones(1).double()]))
    else:
        schedule = schedules[name]()
    if isinstance(schedule, DiscreteSchedule):
        return schedule, schedule.level(torch.arange(schedule.steps + 1))
    return schedule, schedule(torch.linspace(0, 1, 301))


@pytest.mark.parametrize(
    "name,of",
    [
        (name, of)
        for name in NAMES
        for of in [*schedules, "zero terminal"]
        if name != "mean" or of not in ("vp", "ve", "flow", "single")
    ],
)
def test_predict_inverts_target_at_every_level(name: str, of: str) -> None:
    schedule, level = every_level(of)
    meaning = parameterization(name, schedule)
    x0, eps = normal(len(level.t), 1, 2, 3), normal(len(level.t), 1, 2, 3, seed=1)
    target = meaning.target(x0, eps, level)
    prediction = meaning.predict(target, level.noise(x0, eps), level)
    for value in (target, prediction.x0, prediction.eps, meaning.scale_input(x0, level)):
        assert bool(value.isfinite().all())
    has_x0 = (level.alpha > 0) | torch.tensor(name in KNOWS_X0_AT_PURE_NOISE)
    has_eps = (level.sigma > 0) | torch.tensor(name in KNOWS_EPS_AT_CLEAN_DATA)
    torch.testing.assert_close(prediction.x0[has_x0], x0[has_x0], rtol=0, atol=1e-6)
    torch.testing.assert_close(prediction.eps[has_eps], eps[has_eps], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_halves_of_a_prediction_agree_for_any_output(name: str) -> None:
    schedule = linear(40)
    level = schedule.level(torch.arange(1, 41))
    x, output = normal(40, 2, 3), normal(40, 2, 3, seed=1)
    prediction = parameterization(name, schedule).predict(output, x, level)
    torch.testing.assert_close(level.noise(prediction.x0, prediction.eps), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_one_level_per_image_equals_image_by_image(name: str) -> None:
    schedule = DiscreteSchedule(torch.cat([linear(8).betas, torch.ones(1).double()]))
    meaning = parameterization(name, schedule)
    n = torch.tensor([0, 1, 2, 5, 9])
    x0, other = normal(5, 2, 3, 3), normal(5, 2, 3, 3, seed=1)
    level = schedule.level(n)
    together = (
        meaning.target(x0, other, level),
        meaning.predict(other, x0, level).x0,
        meaning.predict(other, x0, level).eps,
        meaning.scale_input(x0, level),
    )
    for i in range(5):
        alone, a, b = schedule.level(int(n[i])), x0[i : i + 1], other[i : i + 1]
        prediction = meaning.predict(b, a, alone)
        each = (meaning.target(a, b, alone), prediction.x0, prediction.eps, meaning.scale_input(a, alone))
        for whole, part in zip(together, each):
            torch.testing.assert_close(whole[i : i + 1], part, rtol=1e-12, atol=1e-12)


def test_targets_are_the_papers() -> None:
    level = NoiseLevel(*torch.tensor([0.5, 0.8, 0.6], dtype=torch.float64))
    x0, eps = torch.tensor([[2.0]]).double(), torch.tensor([[-1.5]]).double()
    expected = {"eps": -1.5, "x0": 2.0, "v": 0.8 * -1.5 - 0.6 * 2.0, "score": 1.5 / 0.6}
    for name, value in expected.items():
        assert parameterization(name, flow()).target(x0, eps, level).item() == pytest.approx(value)
        assert torch.equal(parameterization(name, flow()).scale_input(x0, level), x0)


@pytest.mark.parametrize("of", ["linear", "cosine", "quadratic", "sigmoid"])
def test_mean_is_the_ddpm_papers(of: str) -> None:
    schedule = schedules[of](25)
    assert isinstance(schedule, DiscreteSchedule)
    meaning = parameterization("mean", schedule)
    x0, eps = normal(1, 4), normal(1, 4, seed=1)
    for n in range(1, 26):
        level = schedule.level(n)
        x = level.noise(x0, eps)
        beta, here = schedule.betas[n - 1], schedule.alphas_cumprod[n - 1]
        there = schedule.alphas_cumprod[n - 2] if n > 1 else torch.ones(()).double()
        equation_7 = (there.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - there) * x) / (1 - here)
        target = meaning.target(x0, eps, level)
        torch.testing.assert_close(target, equation_7, rtol=1e-9, atol=1e-9)
        equation_11 = (x - beta / (1 - here).sqrt() * eps) / (1 - beta).sqrt()
        torch.testing.assert_close(target, equation_11, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("n", [0, 1])
def test_the_mean_below_the_first_level_is_the_image(n: int) -> None:
    schedule = linear(49)  # 49 * (1 / 49) is not 1 in floating point
    x0, eps = normal(1, 4), normal(1, 4, seed=1)
    target = parameterization("mean", schedule).target(x0, eps, schedule.level(n))
    torch.testing.assert_close(target, x0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sigma_data", [0.5, 1.3])
def test_karras_is_the_papers_table_1(sigma_data: float) -> None:
    meaning = parameterization("karras", ve(), sigma_data)
    x, output = normal(6, 2, 3), normal(6, 2, 3, seed=1)
    level = ve()(torch.linspace(0.01, 1, 6))
    sigma = level.sigma.reshape(-1, 1, 1)
    c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    c_out = sigma * sigma_data / (sigma_data**2 + sigma**2).sqrt()
    c_in = 1 / (sigma**2 + sigma_data**2).sqrt()
    torch.testing.assert_close(meaning.predict(output, x, level).x0, c_skip * x + c_out * output)
    torch.testing.assert_close(meaning.scale_input(x, level), c_in * x)


@pytest.mark.parametrize("schedule", [linear(100), vp(), flow()], ids=["linear", "vp", "flow"])
def test_karras_has_unit_variance_in_and_out(schedule: Schedule) -> None:
    meaning = parameterization("karras", schedule, 0.7)
    x0, eps = 0.7 * normal(1, 40_000), normal(1, 40_000, seed=1)
    for t in (0.05, 0.4, 0.95):
        level = schedule(t)
        x = level.noise(x0, eps)
        shown, target = meaning.scale_input(x, level), meaning.target(x0, eps, level)
        assert shown.std().item() == pytest.approx(1, abs=0.015)
        assert target.std().item() == pytest.approx(1, abs=0.015)
        # What c_skip x leaves over is uncorrelated with x: the best that a linear skip can do.
        assert (shown * target).mean().item() == pytest.approx(0, abs=0.02)


def test_karras_and_v_keep_precision_at_little_noise() -> None:
    # In float32 at sigma = 1e-4, (x - alpha x0) / sigma would lose all but three digits of eps.
    level = NoiseLevel(*torch.tensor([0.1, (1 - 1e-8) ** 0.5, 1e-4], dtype=torch.float64))
    x0, eps = normal(1, 100).float(), normal(1, 100, seed=1).float()
    for name in ("v", "karras"):
        meaning = parameterization(name, vp())
        prediction = meaning.predict(meaning.target(x0, eps, level), level.noise(x0, eps), level)
        torch.testing.assert_close(prediction.eps, eps, rtol=1e-5, atol=1e-5)


def test_images_keep_their_type() -> None:
    for name in NAMES:
        schedule = linear(10)
        meaning = parameterization(name, schedule)
        x, level = torch.randn(2, 1, 3, 3), schedule.level(torch.tensor([0, 10]))
        prediction = meaning.predict(meaning.target(x, x, level), x, level)
        assert prediction.x0.dtype == prediction.eps.dtype == torch.float32


@pytest.mark.parametrize("of", ["linear", "cosine", "vp", "ve", "flow"])
def test_dual_inverts_its_target_and_always_describes_x(of: str) -> None:
    schedule, level = every_level(of)
    noised = torch.nonzero(level.sigma > 0)[:, 0]
    level, meaning = level[noised], parameterization("dual", schedule)
    x0, eps = normal(len(noised), 1, 2, 3), normal(len(noised), 1, 2, 3, seed=1)
    prediction = meaning.predict(meaning.target(x0, eps, level), level.noise(x0, eps), level)
    known = level.alpha > 0
    torch.testing.assert_close(prediction.x0[known], x0[known], rtol=0, atol=1e-6)
    torch.testing.assert_close(prediction.eps, eps, rtol=0, atol=1e-6)
    x, output = x0, normal(len(noised), 3, 2, 3, seed=2)
    prediction = meaning.predict(output, x, level)
    torch.testing.assert_close(level.noise(prediction.x0, prediction.eps)[known], x[known], rtol=1e-7, atol=1e-7)


def test_dual_mixes_the_two_posterior_means_by_the_gate() -> None:
    schedule = linear(40)
    here, there = schedule.level(17), schedule.level(16)
    x, output = normal(2, 1, 2, 3), normal(2, 3, 2, 3, seed=1)
    eps, x0, logit = output.chunk(3, dim=1)
    of_x0, of_x, _ = posterior(here, there)
    beta, ab = schedule.betas[16], here.alpha**2
    from_eps = (x - beta / (1 - ab).sqrt() * eps) / (1 - beta).sqrt()
    from_x0 = of_x0 * x0 + of_x * x
    mixed = of_x0 * parameterization("dual", schedule).predict(output, x, here).x0 + of_x * x
    gate = 1 / (1 + (-logit).exp())
    torch.testing.assert_close(mixed, gate * from_x0 + (1 - gate) * from_eps, rtol=1e-9, atol=1e-9)


def test_unknown_and_impossible_names_are_refused() -> None:
    with pytest.raises(InputError, match="'epsilon'"):
        parameterization("epsilon", linear())
    for schedule in (vp(), ve(), flow()):
        with pytest.raises(InputError, match="discrete"):
            parameterization("mean", schedule)
