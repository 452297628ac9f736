"""Predictor-corrector against the paper's equations, and each image's independence of its neighbours."""

import math

import pytest
import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel, Prediction
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.schedule import ladder, linear
from unstir.errors import InputError
from unstir.sampling import DDPM, PredictorCorrector, SeededNoise, grid, sample
from unstir.sampling.predictor_corrector import ReverseDiffusion


def fake(x: Tensor, level: NoiseLevel) -> Prediction:
    """A nonlinear prediction of a bounded image."""
    return Prediction.from_x0(torch.tanh(1.3 * x.flip(-1) + 2 * level.t), x, level)


def normal(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 1, 2, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_predictor_is_the_papers_for_exploding_variance() -> None:
    """Song et al. 2021, algorithm 2."""
    schedule = ladder(20, 0.05, 5.0)
    here, there = schedule.level(12), schedule.level(7)
    x, z = normal(2)
    change = here.sigma**2 - there.sigma**2
    expected = x + change * fake(x, here).score + change.sqrt() * z
    torch.testing.assert_close(ReverseDiffusion().step(fake, x, here, there, None, lambda _: z)[0], expected)


def test_the_predictor_is_the_papers_for_preserved_variance() -> None:
    """Song et al. 2021, algorithm 3, on neighbours of the grid."""
    schedule = linear(100)
    here, there, beta = schedule.level(60), schedule.level(59), schedule.betas[59]
    x, z = normal(2)
    expected = (2 - (1 - beta).sqrt()) * x + beta * fake(x, here).score + beta.sqrt() * z
    torch.testing.assert_close(ReverseDiffusion().step(fake, x, here, there, None, lambda _: z)[0], expected)


@pytest.mark.parametrize("name", ["ladder", "linear"])
def test_the_corrector_is_the_papers_with_norms_of_its_own(name: str) -> None:
    """Song et al. 2021, algorithms 4 and 5, image by image; alpha is that of the step just made."""
    schedule = ladder(20, 0.05, 5.0) if name == "ladder" else linear(20)
    here, there, snr = schedule.level(12), schedule.level(11), 0.3
    x, *noises = normal(3)
    left = iter(noises)
    got, _ = PredictorCorrector(DDPM(), snr).step(fake, x, here, there, None, lambda _: next(left))
    predicted, _ = DDPM().step(fake, x, here, there, None, lambda _: noises[0])
    alpha = 1.0 if name == "ladder" else (1 - schedule.betas[11]).item()  # type: ignore[union-attr]
    for i, z in enumerate(noises[1]):
        g = fake(predicted, there).score[i]
        step = 2 * alpha * (snr * z.norm() / g.norm()) ** 2
        torch.testing.assert_close(got[i], predicted[i] + step * g + (2 * step).sqrt() * z)


def test_the_factor_is_nearly_the_papers_on_a_fine_grid() -> None:
    """The paper's alpha_i is that of the step from the level which is corrected; here it is of the step to it."""
    for schedule, most in ((linear(1000), 1e-3), (linear(4000, 2.5e-5, 0.005), 1e-4)):
        ours, papers = (1 - schedule.betas[n] for n in (500, 499))
        assert 0 < papers - ours < most * papers


def test_without_updates_it_is_its_predictor() -> None:
    schedule, x = ladder(20, 0.05, 5.0), 5 * normal(1)[0]
    bare, wrapped = (
        sample(fake, x, grid(schedule, 9), sampler, SeededNoise(range(3)))
        for sampler in (DDPM(), PredictorCorrector(DDPM(), updates=0))
    )
    assert torch.equal(bare, wrapped)


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    levels, x = grid(ladder(20, 0.05, 5.0), 20), 5 * normal(1)[0]
    wild = torch.cat([x[:1], 1e3 * x[1:] + 7])
    tame, beside = (
        sample(fake, start, levels, PredictorCorrector(), SeededNoise(range(3))) for start in (x, wild)
    )
    assert torch.equal(tame[0], beside[0])
    assert not torch.equal(tame[1], beside[1])


def test_where_there_is_no_score_x_stays() -> None:
    def flat(x: Tensor, level: NoiseLevel) -> Prediction:
        return Prediction(x, torch.zeros_like(x), level)

    here, there = (ladder(20).level(n) for n in (12, 11))
    x = normal(1)[0]
    got, _ = PredictorCorrector(DDPM()).step(flat, x, here, there, None, torch.ones_like)
    predicted, _ = DDPM().step(flat, x, here, there, None, torch.ones_like)
    torch.testing.assert_close(got, predicted)


@pytest.mark.parametrize("predictor", [ReverseDiffusion(), DDPM()], ids=["reverse", "ancestral"])
@pytest.mark.parametrize("name", ["ladder", "linear"])
def test_corrections_mend_what_few_steps_leave_wrong(name: str, predictor: ReverseDiffusion | DDPM) -> None:
    means = torch.randn(2, 100, generator=torch.Generator().manual_seed(0)).sign() * 0.8
    mixture = GaussianMixtureDenoiser(means, torch.tensor([0.3, 0.3]), torch.tensor([0.8, 0.2]))
    levels = grid(ladder(100, 0.05, 20.0) if name == "ladder" else linear(), 20)

    def error(updates: int) -> float:
        generator = torch.Generator().manual_seed(1)

        def noise(like: Tensor) -> Tensor:
            return torch.randn(like.shape, generator=generator, dtype=like.dtype)

        x = noise(torch.empty(1000, 100)) * float((levels[0].alpha ** 2 + levels[0].sigma ** 2).sqrt())
        x = sample(mixture, x, levels, PredictorCorrector(predictor, updates=updates), noise)
        nearest = torch.cdist(x, means).argmin(1)
        assert float((nearest == 0).double().mean()) == pytest.approx(0.8, abs=0.1)
        return abs((x - means[nearest]).std().item() - 0.3)

    assert error(4) < 0.7 * error(0)


@pytest.mark.parametrize("options", [{"snr": 0.0}, {"snr": math.nan}, {"updates": -1}])
def test_impossible_options_are_refused(options: dict) -> None:
    with pytest.raises(InputError, match="pc needs"):
        PredictorCorrector(**options)
