"""Classifier-free guidance: its formula, its limit, and its cost."""

import pytest
import torch
from torch import Tensor, nn

from unstir.diffusion import Condition, Denoiser, NoiseLevel, Prediction, Sockets
from unstir.diffusion.parameterization import parameterization
from unstir.diffusion.schedule import flow, linear
from unstir.sampling import DDIM, grid, sample
from unstir.sampling.guidance import by_weaker, classifier_free, conditioned


class Network(nn.Module):
    """Is told a number for each image, and keeps count of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
        self.calls += 1
        assert sockets.vector is not None
        return torch.sin(x.flip(-1) * (1 + sockets.vector.reshape(-1, 1, 1, 1))) + t.reshape(-1, 1, 1, 1)


class Conditioner(nn.Module):
    """Adds the parts up, with a null value of each where it is hidden."""

    def forward(self, condition: Condition | None, x: Tensor) -> Sockets:
        assert condition is not None
        total = torch.zeros(len(x), 1, dtype=x.dtype)
        for name, null in (("label", -0.7), ("age", 0.3)):
            if name in condition.parts:
                value, hidden = condition.parts[name]
                total = total + torch.where(hidden, null, value.to(x))[:, None]
        return Sockets(vector=total)


def setting(name: str = "eps") -> tuple[Denoiser, Condition, Tensor]:
    schedule = linear(10)
    x = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    denoiser = Denoiser(Network(), parameterization(name, schedule), schedule, Conditioner())
    return denoiser, Condition.of({"label": torch.tensor([1, 2, 4])}), x


@pytest.mark.parametrize("name", ["eps", "x0", "v"])
@pytest.mark.parametrize("w", [0.5, 2.0, 7.5])
def test_the_formula_is_ho_and_salimans(name: str, w: float) -> None:
    denoiser, condition, x = setting(name)
    level = linear(10).level(6)
    with_label, without = denoiser(x, level, condition), denoiser(x, level, condition.hide())
    guided = classifier_free(denoiser, condition, w)(x, level)
    assert (with_label.eps - without.eps).abs().max() > 0.1
    torch.testing.assert_close(guided.eps, (1 + w) * with_label.eps - w * without.eps)
    torch.testing.assert_close(guided.x0, (1 + w) * with_label.x0 - w * without.x0)
    torch.testing.assert_close(level.noise(guided.x0, guided.eps), x)
    assert guided.level is level


def test_a_strength_of_zero_is_off() -> None:
    denoiser, condition, x = setting()
    for n in (1, 5, 10):
        guided = classifier_free(denoiser, condition, 0.0)(x, linear(10).level(n))
        plain = conditioned(denoiser, condition)(x, linear(10).level(n))
        torch.testing.assert_close(guided.x0, plain.x0)
        torch.testing.assert_close(guided.eps, plain.eps)


def test_images_whose_condition_is_hidden_are_not_guided() -> None:
    denoiser, condition, x = setting()
    hidden = condition.hide(mask=torch.tensor([False, True, False]))
    guided = classifier_free(denoiser, hidden, 3.0)(x, linear(10).level(6))
    free = denoiser(x, linear(10).level(6), condition.hide())
    torch.testing.assert_close(guided.eps[1], free.eps[1])
    assert not torch.allclose(guided.eps[0], free.eps[0])


def test_one_level_per_image_will_do() -> None:
    denoiser, condition, x = setting()
    n = torch.tensor([2, 5, 9])
    together = classifier_free(denoiser, condition, 2.0)(x, linear(10).level(n))
    for i in range(3):
        alone = classifier_free(denoiser, condition[i : i + 1], 2.0)
        torch.testing.assert_close(together.x0[i : i + 1], alone(x[i : i + 1], linear(10).level(int(n[i]))).x0)


def test_one_network_call_for_each_step() -> None:
    denoiser, condition, x = setting()
    sample(classifier_free(denoiser, condition, 2.0), x, grid(linear(10), 4), DDIM(), torch.randn_like)
    assert denoiser.network.calls == 4


def test_conditioning_fixes_the_condition() -> None:
    denoiser, condition, x = setting()
    level = linear(10).level(3)
    assert torch.equal(conditioned(denoiser, condition)(x, level).eps, denoiser(x, level, condition).eps)


def test_guidance_at_pure_noise_is_finite() -> None:
    schedule = flow()
    denoiser = Denoiser(Network(), parameterization("v", schedule), schedule, Conditioner())
    _, condition, x = setting()
    guided = classifier_free(denoiser, condition, 2.0)(x, schedule(1.0))
    assert bool(guided.x0.isfinite().all())
    torch.testing.assert_close(guided.eps, x)


def test_a_learned_variance_is_the_conditional_predictions() -> None:
    class WithVariance(Network):
        def forward(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
            return torch.cat([super().forward(x, t, sockets), super().forward(x.flip(-2), t, sockets)], dim=1)

    schedule = linear(10)
    _, condition, x = setting()
    meaning = parameterization("eps", schedule)
    denoiser = Denoiser(WithVariance(), meaning, schedule, Conditioner(), learned_variance=True)
    level = schedule.level(6)
    guided = classifier_free(denoiser, condition, 3.0)(x, level)
    torch.testing.assert_close(guided.variance, denoiser(x, level, condition).variance)
    assert not torch.allclose(guided.variance, denoiser(x, level, condition.hide()).variance)


def test_only_the_named_parts_are_guided_by() -> None:
    denoiser, _, x = setting()
    condition = Condition.of({"label": torch.tensor([1, 2, 4]), "age": torch.tensor([0.1, 0.9, -0.4])})
    level, w = linear(10).level(6), 2.0
    told = denoiser(x, level, condition)
    guided = {}
    for names in (["label"], ["age"], ["label", "age"], None):
        free = denoiser(x, level, condition.hide(names))
        guided[str(names)] = classifier_free(denoiser, condition, w, names)(x, level)
        torch.testing.assert_close(guided[str(names)].eps, (1 + w) * told.eps - w * free.eps)
    assert torch.equal(guided["None"].x0, guided["['label', 'age']"].x0)
    assert (guided["['label']"].x0 - guided["['age']"].x0).abs().max() > 0.1


def test_anything_that_takes_a_condition_can_be_guided() -> None:
    seen = []

    def denoise(x: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
        value, hidden = condition.parts["label"]
        seen.append(len(x))
        return Prediction.from_x0(torch.where(hidden, 0, value).to(x).reshape(-1, 1, 1, 1) + 0 * x, x, level)

    _, condition, x = setting()
    level = linear(10).level(6)
    guided = classifier_free(denoise, condition, 0.5)(x, level)
    torch.testing.assert_close(guided.x0, 1.5 * torch.tensor([1.0, 2, 4]).to(x).reshape(-1, 1, 1, 1) + 0 * x)
    torch.testing.assert_close(level.noise(guided.x0, guided.eps), x)
    assert seen == [6]


# The interval of levels, and rescaling


def test_guidance_holds_in_its_interval_alone_and_costs_half_outside() -> None:
    denoiser, condition, x = setting()
    schedule, w = linear(10), 2.0
    ratios = [float(schedule.level(n).sigma / schedule.level(n).alpha) for n in range(11)]
    interval = (ratios[4], ratios[7])  # its ends belong to it
    sizes: list[int] = []
    denoiser.network.register_forward_pre_hook(lambda network, inputs: sizes.append(len(inputs[0])))
    for n in range(1, 11):
        level = schedule.level(n)
        got = classifier_free(denoiser, condition, w, interval=interval)(x, level)
        assert sizes[-1] == (6 if 4 <= n <= 7 else 3)
        expected = classifier_free(denoiser, condition, w if 4 <= n <= 7 else 0.0)(x, level)
        torch.testing.assert_close(got.eps, expected.eps)
        torch.testing.assert_close(got.x0, expected.x0)


def test_each_image_is_guided_by_its_own_level() -> None:
    denoiser, condition, x = setting()
    schedule = linear(10)
    middle = float(schedule.level(5).sigma / schedule.level(5).alpha)
    together = classifier_free(denoiser, condition, 2.0, interval=(0.0, middle))
    mixed = together(x, schedule.level(torch.tensor([3, 5, 8])))
    for i, (n, w) in enumerate(((3, 2.0), (5, 2.0), (8, 0.0))):
        alone = classifier_free(denoiser, condition[i : i + 1], w)(x[i : i + 1], schedule.level(n))
        torch.testing.assert_close(mixed.eps[i : i + 1], alone.eps)


def test_rescaling_gives_each_image_the_contrast_it_had() -> None:
    denoiser, condition, x = setting("v")
    level, w = linear(10).level(8), 4.0
    told = classifier_free(denoiser, condition, 0.0)(x, level)
    pushed = classifier_free(denoiser, condition, w)(x, level)
    before, after = (p.x0.flatten(1).std(1) for p in (told, pushed))
    assert ((after / before - 1).abs() > 0.05).all()
    for phi in (0.0, 0.3, 1.0):
        got = classifier_free(denoiser, condition, w, rescale=phi)(x, level)
        factor = (phi * before / after + 1 - phi).reshape(-1, 1, 1, 1)
        torch.testing.assert_close(got.x0, factor * pushed.x0)
        torch.testing.assert_close(level.noise(got.x0, got.eps), x)
        alone = classifier_free(denoiser, condition[1:2], w, rescale=phi)(x[1:2], level)
        torch.testing.assert_close(got.x0[1:2], alone.x0)


def test_a_flat_image_is_rescaled_to_itself() -> None:
    def gray(x: Tensor, level: NoiseLevel) -> Prediction:
        return Prediction.from_x0(torch.full_like(x, 0.25), x, level)

    level, (_, _, x) = linear(10).level(5), setting()
    got = by_weaker(gray, gray, 2.0, rescale=1.0)(x, level)
    torch.testing.assert_close(got.x0, torch.full_like(x, 0.25))


# A weaker model


def test_a_weaker_model_is_pushed_away_from() -> None:
    denoiser, condition, x = setting()
    other, _, _ = setting("x0")
    level, w = linear(10).level(6), 1.5
    strong, weak = denoiser(x, level, condition), other(x, level, condition)
    guided = by_weaker(conditioned(denoiser, condition), conditioned(other, condition), w)(x, level)
    torch.testing.assert_close(guided.eps, strong.eps + w * (strong.eps - weak.eps))
    torch.testing.assert_close(guided.x0, strong.x0 + w * (strong.x0 - weak.x0))
    torch.testing.assert_close(level.noise(guided.x0, guided.eps), x)
    asked = other.network.calls
    outside = by_weaker(conditioned(denoiser, condition), conditioned(other, condition), w, interval=(1e3, 1e4))
    torch.testing.assert_close(outside(x, level).eps, strong.eps)
    assert other.network.calls == asked
