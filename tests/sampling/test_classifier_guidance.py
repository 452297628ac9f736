"""Classifier guidance on a mixture whose conditional parts are known: exact predictions, steps and samples.

The classes are sets of the mixture's components. Given one, the data is again a mixture, whose exact denoiser the
guided one must be, and the exact classifier is the sum of its components' responsibilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unstir.diffusion import Condition, Denoise, NoiseLevel, Prediction, on_any_schedule
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.schedule import cosine, flow, linear, ve
from unstir.sampling import DDIM, DDPM, DPMSolver, Heun, SeededNoise, grid, invert, langevin, sample, samplers
from unstir.sampling.clipping import clipped
from unstir.sampling.config import SamplingConfig
from unstir.sampling.draw import make_denoise
from unstir.sampling.guidance import absorbed, by_classifier, classifier_free

MEANS = torch.tensor([[-0.6, -0.2], [0.5, 0.1], [0.1, 0.7]], dtype=torch.float64)
STDS = torch.tensor([0.2, 0.3, 0.1], dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
MIXTURE = GaussianMixtureDenoiser(MEANS, STDS, WEIGHTS)
CLASS = [0, 2]
"""The components of the class that is asked for."""
CONDITIONAL = GaussianMixtureDenoiser(MEANS[CLASS], STDS[CLASS], WEIGHTS[CLASS])
COUNT = 4_000


def log_probability(x: Tensor, level: NoiseLevel) -> Tensor:
    return MIXTURE.log_responsibility(x, level)[:, CLASS].logsumexp(1)


def drift(x: Tensor, level: NoiseLevel) -> Tensor:
    """The gradient of log p(c | x) as the difference of the two exact scores."""
    return CONDITIONAL(x, level).score - MIXTURE(x, level).score


def told(x: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
    """The exact denoiser as a network: of the class, or where that is hidden of the whole mixture."""
    _, hidden = condition.parts["label"]
    whole, part = MIXTURE(x, level), CONDITIONAL(x, level)
    hidden = hidden[:, None]
    return Prediction(torch.where(hidden, whole.x0, part.x0), torch.where(hidden, whole.eps, part.eps), level)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABEL = Condition.of({"label": torch.zeros(6, dtype=torch.int64)})
LEVELS = [linear(10).level(1), linear(10).level(6), cosine(10).level(10), flow()(0.7), ve()(0.4)]


@pytest.mark.parametrize("level", LEVELS)
def test_the_exact_classifier_makes_the_exact_conditional_prediction(level: NoiseLevel) -> None:
    x = normal(6, 2) * (level.alpha**2 + level.sigma**2).sqrt()
    guided = by_classifier(MIXTURE, log_probability)(x, level)
    torch.testing.assert_close(guided.x0, MIXTURE(x, level).x0)
    assert guided.drift is not None and guided.drift.abs().max() > 1e-9
    torch.testing.assert_close(guided.drift, drift(x, level), rtol=1e-6, atol=1e-9)
    exact, whole = CONDITIONAL(x, level), guided.absorbed()
    torch.testing.assert_close(whole.x0, exact.x0, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(whole.eps, exact.eps, rtol=1e-6, atol=1e-9)
    assert whole.drift is None and not whole.x0.requires_grad


def test_pure_noise_is_not_guided() -> None:
    level, x = flow()(1.0), normal(6, 2)
    plain = MIXTURE(x, level)
    guided = replace(plain, drift=torch.ones_like(x)).absorbed()
    torch.testing.assert_close((guided.x0, guided.eps), (plain.x0, plain.eps))


@pytest.mark.parametrize("w", [0.0, 0.5, 3.0])
def test_classifier_free_guidance_is_a_classifiers_of_one_more(w: float) -> None:
    x, level = normal(6, 2), linear(10).level(5)
    free = classifier_free(told, LABEL, w)(x, level)
    by = absorbed(by_classifier(MIXTURE, log_probability, 1 + w))(x, level)
    torch.testing.assert_close((free.x0, free.eps), (by.x0, by.eps))
    hidden = classifier_free(told, LABEL.hide(), w)(x, level)
    torch.testing.assert_close(hidden.x0, MIXTURE(x, level).x0)


@pytest.mark.parametrize("clip", ["none", "static"])
@pytest.mark.parametrize("n", [2, 5, 9])
def test_all_together_have_the_prediction_that_is_known(n: int, clip: str) -> None:
    # Each pushes by the same gradient: w of classifier-free guidance, in its interval, and s of the classifier.
    schedule, w, s = linear(10), 2.0, 1.5
    ratios = [float(schedule.level(k).sigma / schedule.level(k).alpha) for k in (4, 6)]
    options = {"guidance": w, "guidance_min": ratios[0], "guidance_max": ratios[1], "clip": clip}

    def guide(denoise: Denoise) -> Denoise:
        return by_classifier(denoise, log_probability, s)

    level, x = schedule.level(n), 2 * normal(6, 2)
    alpha, sigma = level.coefficients(x)
    push = drift(x, level) * (s + (w if n == 5 else 0))
    exact = CONDITIONAL(x, level).x0 + sigma**2 / alpha * push
    if clip == "static":
        assert exact.abs().max() > 1
        exact = exact.clamp(-1, 1)
    for name in ("ddim", "ddpm"):
        config = SamplingConfig().with_options({"sampler": name, **options})
        got = make_denoise(told, LABEL, config, guide)(x, level)  # type: ignore[arg-type]
        torch.testing.assert_close(level.noise(got.x0, got.eps), x)
        if name == "ddim":
            torch.testing.assert_close(got.x0, exact, rtol=1e-6, atol=1e-8)
            assert got.drift is None
        else:  # clipping concerns the image alone
            image = CONDITIONAL(x, level).x0 + sigma**2 / alpha * drift(x, level) * (w if n == 5 else 0)
            image = image.clamp(-1, 1) if clip == "static" else image
            torch.testing.assert_close(got.x0, image, rtol=1e-6, atol=1e-8)
            torch.testing.assert_close(got.drift, s * drift(x, level), rtol=1e-6, atol=1e-8)


def test_a_change_of_schedule_scales_the_drift() -> None:
    trained = linear()
    changed = on_any_schedule(by_classifier(MIXTURE, log_probability), trained)
    for level in (flow()(0.3), ve()(0.5)):
        x = normal(6, 2) * (level.alpha**2 + level.sigma**2).sqrt()
        got = absorbed(changed)(x, level)
        exact = CONDITIONAL(x, level)
        torch.testing.assert_close((got.x0, got.eps), (exact.x0, exact.eps), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variance", ["small", "large", "learned"])
def test_the_mean_moves_by_the_variance_of_the_step(variance: str) -> None:
    schedule, x, z, g = linear(100), *normal(3, 4, 1, 2, 2)
    for here, there in ((40, 39), (90, 30)):
        ab = schedule.alphas_cumprod
        beta = 1 - ab[here - 1] / ab[there - 1]
        small = (1 - ab[there - 1]) / (1 - ab[here - 1]) * beta
        v = torch.linspace(-0.2, 1.2, 16, dtype=torch.float64).reshape(4, 1, 2, 2)
        spread = {"small": small, "large": beta, "learned": beta**v * small ** (1 - v)}[variance]

        def step(g: Tensor | None, here: int = here, there: int = there, v: Tensor = v) -> Tensor:
            def denoise(x: Tensor, level: NoiseLevel) -> Prediction:
                return replace(Prediction.from_x0(0.3 * x, x, level), variance=v, drift=g)

            return DDPM(variance).step(denoise, x, schedule.level(here), schedule.level(there), None, lambda _: z)[
                0
            ]

        torch.testing.assert_close(step(g) - step(None), spread * g)


def test_the_last_step_does_not_move() -> None:
    level, x = linear(10).level(1), normal(6, 2)
    guided = by_classifier(MIXTURE, log_probability)
    end = sample(guided, x, [level, NoiseLevel.clean()], DDPM(), torch.randn_like)
    torch.testing.assert_close(end, MIXTURE(x, level).x0)


@pytest.mark.parametrize("name", samplers.known)
def test_a_sampler_and_its_configuration_agree_on_the_drift(name: str) -> None:
    config = samplers[name]()
    assert getattr(config.build(linear(), 6), "takes_drift", False) == config.takes_drift


@pytest.mark.parametrize("name", [name for name in samplers.known if name != "ddpm"])
def test_every_other_sampler_draws_as_from_the_conditional_denoiser(name: str) -> None:
    levels, x = grid(linear(), 6), normal(3, 2)
    guided, exact = (
        sample(denoise, x, levels, samplers[name]().build(linear(), 6), SeededNoise([1, 2, 3]))
        for denoise in (by_classifier(MIXTURE, log_probability), CONDITIONAL)
    )
    torch.testing.assert_close(guided, exact, rtol=1e-5, atol=1e-6)


def test_inversion_and_langevin_dynamics_heed_a_drift() -> None:
    guided, x = by_classifier(MIXTURE, log_probability), normal(3, 2)
    levels = grid(linear(), 8)
    torch.testing.assert_close(invert(guided, x, levels), invert(CONDITIONAL, x, levels), rtol=1e-6, atol=1e-7)
    ends = [
        langevin(denoise, x, linear()(0.2), 0.01, 5, SeededNoise([1, 2, 3])) for denoise in (guided, CONDITIONAL)
    ]
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-7)


def distance(x: Tensor, of: GaussianMixtureDenoiser) -> float:
    """Kuiper's distance from a mixture's distribution, the largest over twelve directions, times sqrt(n)."""
    angles = torch.arange(12, dtype=torch.float64) * math.pi / 12
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    projected = (x @ directions.T).sort(dim=0).values
    parts = torch.special.ndtr((projected[..., None] - directions @ of.means.T) / of.stds)
    cdf = (of.weights * parts).sum(-1)
    ranks = torch.arange(len(x) + 1, dtype=torch.float64)[:, None] / len(x)
    return float(((ranks[1:] - cdf).amax(0) + (cdf - ranks[:-1]).amax(0)).max()) * len(x) ** 0.5


def drawn(denoise: Denoise, sampler: DDPM, steps: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    return sample(denoise, noise(torch.zeros(COUNT, 2).double()), grid(linear(), steps), sampler, noise)


@pytest.fixture(scope="module")
def threshold() -> float:
    """A fifth above the largest distance of 40 exact samples."""
    generator = torch.Generator().manual_seed(0)
    return 1.2 * max(distance(CONDITIONAL.sample(COUNT, generator), CONDITIONAL) for _ in range(40))


@pytest.mark.parametrize("variance", ["small", pytest.param("large", marks=pytest.mark.slow)])
def test_a_fine_grid_draws_the_class(threshold: float, variance: str) -> None:
    x = drawn(by_classifier(MIXTURE, log_probability), DDPM(variance), 400, seed=2)
    assert distance(x, CONDITIONAL) < threshold


@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.7])
def test_another_scale_draws_something_else(threshold: float, scale: float) -> None:
    x = drawn(by_classifier(MIXTURE, log_probability, scale), DDPM(), 100, seed=2)
    assert distance(x, CONDITIONAL) > 2 * threshold


@pytest.mark.parametrize(("sampler", "order"), [(DDIM(), 1), (Heun(), 2), (DPMSolver(2), 2)], ids=str)
def test_guided_solvers_keep_their_order(sampler: DDIM | Heun | DPMSolver, order: int) -> None:
    x, guided = normal(30, 2), by_classifier(MIXTURE, log_probability)

    def end(denoise: Denoise, solver: DDIM | Heun | DPMSolver, steps: int) -> Tensor:
        return sample(denoise, x, grid(linear(), steps, "log_snr"), solver, torch.zeros_like)

    exact = end(CONDITIONAL, DPMSolver(3), 600)
    few, many = (float((end(guided, sampler, steps) - exact).norm()) for steps in (40, 160))
    assert math.log(few / many, 4) == pytest.approx(order, abs=0.4)


@pytest.mark.parametrize("mode", ["no_grad", "autocast"])
def test_the_gradient_is_made_whatever_surrounds_it(mode: str) -> None:
    level, x = linear(10).level(5), normal(4, 2).float()
    expected = by_classifier(MIXTURE, log_probability)(x, level).drift
    weight = torch.eye(2)

    def through_a_layer(x: Tensor, level: NoiseLevel) -> Tensor:
        return log_probability(torch.nn.functional.linear(x, weight), level)

    guided = by_classifier(MIXTURE, through_a_layer)
    around = torch.no_grad() if mode == "no_grad" else torch.autocast("cpu", torch.bfloat16)
    with around:
        got = guided(x, level).drift
    assert got is not None and got.dtype == torch.float32 and not got.requires_grad
    torch.testing.assert_close(got, expected)


def test_gradients_flow_through_the_guidance() -> None:
    level, x = linear(10).level(5), normal(1, 2).requires_grad_()
    guided: Callable[[Tensor], Tensor] = lambda x: absorbed(by_classifier(MIXTURE, log_probability))(x, level).x0  # noqa: E731
    jacobian = torch.autograd.functional.jacobian(guided, x)
    exact = torch.autograd.functional.jacobian(lambda x: CONDITIONAL(x, level).x0, x)
    torch.testing.assert_close(jacobian, exact, rtol=1e-6, atol=1e-8)


def test_drifts_of_several_classifiers_add_up() -> None:
    level, x = linear(10).level(5), normal(4, 2)
    once = by_classifier(MIXTURE, log_probability, 0.5)
    torch.testing.assert_close(
        by_classifier(once, log_probability, 0.5)(x, level).drift,
        by_classifier(MIXTURE, log_probability)(x, level).drift,
    )
    torch.testing.assert_close(clipped(once)(9 * x, level).drift, once(9 * x, level).drift)
