"""The walk: one step for each pair of levels, and the predicted image as the last answer."""

import pytest
import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel, Prediction
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.likelihood import flow_log_density, variational_bound
from unstir.diffusion.schedule import flow, linear, vp
from unstir.errors import InputError
from unstir.sampling import DDIM, DDPM, SeededNoise, grid, invert, sample, samplers, trajectory

MIXTURE = GaussianMixtureDenoiser(
    torch.tensor([[-0.6, 0.2, 0.4], [0.5, -0.5, 0.0]]).double(), torch.tensor([0.2, 0.1]), torch.tensor([0.4, 0.6])
)


def start(seeds: range) -> tuple[Tensor, SeededNoise]:
    noise = SeededNoise(seeds)
    return noise(torch.zeros(len(seeds), 3, dtype=torch.float64)), noise


def no_noise(like: Tensor) -> Tensor:
    raise AssertionError("a deterministic sampler asked for noise")


@pytest.mark.parametrize("name", sorted(samplers.known))
@pytest.mark.parametrize("steps", [1, 2, 9, 50])
def test_a_trajectory_has_as_many_steps_as_asked(name: str, steps: int) -> None:
    levels = grid(linear(50), steps)
    x, noise = start(range(4))
    walked = list(trajectory(MIXTURE, x, levels, samplers[name]().build(linear(50), steps), noise))
    assert [step.index for step in walked] == list(range(1, steps + 1))
    assert [step.level for step in walked] == levels[1:]
    assert walked[-1].level.sigma == 0


@pytest.mark.parametrize("sampler", [DDIM(0.0), DDIM(1.0), DDPM("small"), DDPM("large")], ids=str)
def test_steps_carry_the_prediction_they_were_made_from(sampler: DDIM | DDPM) -> None:
    levels = grid(linear(50), 7)
    x, noise = start(range(4))
    for step, here in zip(trajectory(MIXTURE, x, levels, sampler, noise), levels):
        assert step.prediction.level is here
        torch.testing.assert_close(step.prediction.x0, MIXTURE(x, here).x0, rtol=0, atol=0)
        x = step.x
    assert torch.equal(x, step.prediction.x0)


@pytest.mark.parametrize("sampler", [DDIM(1.0), DDPM("small"), DDPM("large")], ids=str)
def test_the_last_step_is_the_predicted_image_and_draws_nothing(sampler: DDIM | DDPM) -> None:
    levels = grid(linear(50), 1)
    x, _ = start(range(4))
    answer = sample(MIXTURE, x, levels, sampler, no_noise)
    assert torch.equal(answer, MIXTURE(x, levels[0]).x0)


@pytest.mark.parametrize(
    "sampler,draws", [(DDIM(0.0), 0), (DDIM(0.3), 6), (DDPM("small"), 6), (DDPM("large"), 6)], ids=str
)
def test_fresh_noise_is_drawn_once_for_each_step_but_the_last(sampler: DDIM | DDPM, draws: int) -> None:
    drawn: list[Tensor] = []

    def noise(like: Tensor) -> Tensor:
        drawn.append(torch.randn_like(like))
        return drawn[-1]

    sample(MIXTURE, start(range(4))[0], grid(linear(50), 7), sampler, noise)
    assert len(drawn) == draws


@pytest.mark.parametrize("sampler", [DDIM(0.0), DDIM(0.5), DDPM("large")], ids=str)
def test_an_image_comes_out_the_same_whatever_its_batch(sampler: DDIM | DDPM) -> None:
    levels = grid(linear(50), 12)
    x, noise = start(range(10, 16))
    together = sample(MIXTURE, x, levels, sampler, noise)
    for seeds in (range(10, 11), range(12, 16)):
        x, noise = start(seeds)
        apart = sample(MIXTURE, x, levels, sampler, noise)
        torch.testing.assert_close(apart, together[seeds.start - 10 : seeds.stop - 10], rtol=1e-10, atol=1e-10)


def test_a_trajectory_may_be_stopped_and_watched() -> None:
    calls = []

    def denoise(x: Tensor, level: NoiseLevel) -> Prediction:
        calls.append(level)
        return MIXTURE(x, level)

    x, noise = start(range(2))
    walk = trajectory(denoise, x, grid(linear(50), 10), DDIM(), noise)
    assert not calls
    next(walk), next(walk)
    assert len(calls) == 2


def test_the_start_may_lie_midway_and_the_end_above_clean_data() -> None:
    x, noise = start(range(3))
    levels = grid(linear(50), 50)
    whole = [step.x for step in trajectory(MIXTURE, x, levels, DDIM(), noise)]
    part = [step.x for step in trajectory(MIXTURE, whole[19], levels[20:31], DDIM(), noise)]
    assert len(part) == 10
    torch.testing.assert_close(part[-1], whole[29], rtol=0, atol=0)


def test_the_images_given_are_not_changed() -> None:
    x, noise = start(range(3))
    before = x.clone()
    sample(MIXTURE, x, grid(linear(50), 5), DDPM(), noise)
    assert torch.equal(x, before)


def test_no_graph_is_kept() -> None:
    weight = torch.ones((), requires_grad=True, dtype=torch.float64)

    def denoise(x: Tensor, level: NoiseLevel) -> Prediction:
        return Prediction.from_x0(weight * x, x, level)

    x, noise = start(range(2))
    for step in trajectory(denoise, x, grid(linear(50), 3), DDIM(), noise):
        assert not step.x.requires_grad and not step.prediction.x0.requires_grad
    assert torch.is_grad_enabled()


def test_pure_noise_is_a_place_to_start() -> None:
    x, noise = start(range(500))
    for sampler in (DDIM(0.0), DDIM(1.0), DDPM("small"), DDPM("large")):
        out = sample(MIXTURE, x, grid(flow(), 50), sampler, noise)
        to_nearest = torch.cdist(out, MIXTURE.means).min(dim=1).values
        assert to_nearest.max().item() < 1.1


def level(sigma: float, alpha: float = 1.0) -> NoiseLevel:
    return NoiseLevel(min(sigma, 1.0), alpha, sigma)


CLEAN = level(0.0)
RISES = {
    "rises": [level(1.0), level(2.0), CLEAN],
    "rises on the way": [level(2.0), level(1.0), level(1.5), CLEAN],
    "rises at the end": [level(2.0), CLEAN, level(1.0)],
}
NO_WALKS = {
    "repeats": [level(2.0), level(1.0), level(1.0), CLEAN],
    "repeats at another scale": [level(2.0), level(1.0), level(0.5, alpha=0.5), CLEAN],
    "is clean twice": [level(2.0), CLEAN, CLEAN],
    "is pure noise twice": [level(1.0, alpha=0.0), level(2.0, alpha=0.0), CLEAN],
    "is no number": [level(2.0), level(float("nan")), CLEAN],
    "begins with no number": [level(float("nan")), level(1.0), CLEAN],
    "is negative": [level(2.0), level(-1.0), CLEAN],
}


@pytest.mark.parametrize("levels", NO_WALKS.values(), ids=NO_WALKS)
@pytest.mark.parametrize("name", sorted(samplers.known))
def test_levels_that_repeat_or_are_none_are_refused_by_every_walk(name: str, levels: list[NoiseLevel]) -> None:
    x, noise = start(range(2))
    sampler = samplers[name]().build(linear(50), len(levels) - 1)
    with pytest.raises(
        InputError, match=r"at least 0 and differs from the one before, and that of level number [123] "
    ):
        sample(MIXTURE, x, levels, sampler, noise)


@pytest.mark.parametrize("levels", [*RISES.values(), *NO_WALKS.values()], ids=[*RISES, *NO_WALKS])
def test_levels_that_do_not_fall_are_refused_elsewhere(levels: list[NoiseLevel]) -> None:
    x, noise = start(range(2))
    for call in (
        lambda: invert(MIXTURE, x, levels),
        lambda: flow_log_density(MIXTURE, x, levels),
        lambda: variational_bound(MIXTURE, x, levels, "small", noise),
    ):
        with pytest.raises(InputError, match=r"levels of a walk fall|differs from the one before"):
            call()


def test_a_walk_begins_towards_data() -> None:
    x, noise = start(range(2))
    with pytest.raises(
        InputError, match="begins with a step towards data, and sigma / alpha rises here from 1 to 2"
    ):
        sample(MIXTURE, x, RISES["rises"], DDIM(), noise)


def test_where_levels_rise_the_missing_noise_is_added() -> None:
    levels = [NoiseLevel(0.9, 0.28, 0.96), NoiseLevel(0.5, 0.8, 0.6), NoiseLevel(0.7, 0.6, 0.8), CLEAN, level(3.0)]
    x, noise = start(range(4))
    drawn: list[Tensor] = []

    def counted(like: Tensor) -> Tensor:
        drawn.append(noise(like))
        return drawn[-1]

    steps = list(trajectory(MIXTURE, x, levels, DDIM(), counted))
    assert len(drawn) == 2
    # x keeps 0.6 / 0.8 of itself, and with it 0.75 * 0.6 of the deviation 0.8.
    torch.testing.assert_close(steps[1].x, 0.75 * steps[0].x + (0.64 - 0.45**2) ** 0.5 * drawn[0])
    assert steps[1].prediction is steps[0].prediction
    assert torch.equal(steps[2].x, MIXTURE(steps[1].x, levels[2]).x0)
    torch.testing.assert_close(steps[3].x, steps[2].x + 3 * drawn[1])


@pytest.mark.parametrize("name", sorted(samplers.known))
def test_after_a_rise_a_solver_begins_anew(name: str) -> None:
    down = grid(linear(50), 10)
    levels = [*down[:6], *down[2:]]
    sampler = samplers[name]().build(linear(50), len(levels) - 1)
    steps = list(trajectory(MIXTURE, start(range(3))[0], levels, sampler, torch.zeros_like))
    anew = list(trajectory(MIXTURE, steps[5].x, down[2:], sampler, torch.zeros_like))
    assert steps[5].level is down[2] and len(anew) == 8
    for found, expected in zip(steps[6:], anew, strict=True):
        torch.testing.assert_close(found.x, expected.x, rtol=0, atol=0)


def test_back_and_forth_draws_what_straight_walks_draw() -> None:
    down = grid(vp(), 50)
    x, noise = start(range(2000))
    levels = [*down[:31], *down[10:46], *down[25:]]
    for sampler in (DDIM(0.0), DDPM("large")):
        out = sample(MIXTURE, x, levels, sampler, noise)
        share = (torch.cdist(out, MIXTURE.means).argmin(dim=1) == 0).double().mean().item()
        assert share == pytest.approx(0.4, abs=0.05)
        assert (out[:, 0].mean().item(), out[:, 0].std().item()) == pytest.approx((0.06, 0.56), abs=0.05)


def test_a_solver_and_what_wraps_it_see_the_falling_steps_alone() -> None:
    seen: list[tuple[NoiseLevel, NoiseLevel]] = []

    class Seeing(DDPM):
        def step(self, denoise, x, here, there, state, noise):
            seen.append((here, there))
            return super().step(denoise, x, here, there, state, noise)

    down = grid(vp(), 6)
    x, noise = start(range(2))
    sample(MIXTURE, x, [*down[:4], *down[1:], down[5], down[4], down[5], down[6]], Seeing(), noise)
    falls = [(0, 1), (1, 2), (2, 3), (1, 2), (2, 3), (3, 4), (4, 5), (4, 5)]
    assert seen == [(down[here], down[there]) for here, there in falls]


def test_levels_of_each_image_are_no_walk() -> None:
    x, noise = start(range(2))
    levels = [linear(50)(torch.tensor([0.5, 0.8])), *grid(linear(50), 3)[2:]]
    for call in (lambda: sample(MIXTURE, x, levels, DDIM(), noise), lambda: invert(MIXTURE, x, levels)):
        with pytest.raises(InputError, match="those of all its images"):
            call()


def test_an_inversion_ends_at_clean_data() -> None:
    with pytest.raises(InputError, match="the last one clean"):
        invert(MIXTURE, start(range(2))[0], grid(linear(50), 3)[:-1])


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_levels_are_refused(count: int) -> None:
    x, noise = start(range(2))
    with pytest.raises(InputError, match=f"two levels, and got {count}"):
        list(trajectory(MIXTURE, x, grid(linear(50), 3)[:count], DDIM(), noise))
