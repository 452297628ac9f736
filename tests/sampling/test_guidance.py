"""Classifier-free guidance: its formula, its limit, and its cost."""

import pytest
import torch
from torch import Tensor, nn

from unstir.diffusion import Condition, Denoiser
from unstir.diffusion.parameterization import parameterization
from unstir.diffusion.schedule import flow, linear
from unstir.sampling import DDIM, grid, sample
from unstir.sampling.guidance import classifier_free, conditioned


class Network(nn.Module):
    """Adds its label, or a null value where it is hidden, and keeps count of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        self.calls += 1
        assert condition is not None and condition.vector is not None
        label = condition.vector.to(x)
        if condition.hidden is not None:
            label = torch.where(condition.hidden, torch.full_like(label, -0.7), label)
        return torch.sin(x.flip(-1) * (1 + label.reshape(-1, 1, 1, 1))) + t.reshape(-1, 1, 1, 1)


def setting(name: str = "eps") -> tuple[Denoiser, Condition, Tensor]:
    schedule = linear(10)
    x = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    denoiser = Denoiser(Network(), parameterization(name, schedule), schedule)
    return denoiser, Condition(vector=torch.tensor([1, 2, 4])), x


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
    hidden = condition.hide(torch.tensor([False, True, False]))
    guided = classifier_free(denoiser, hidden, 3.0)(x, linear(10).level(6))
    free = denoiser(x, linear(10).level(6), condition.hide())
    torch.testing.assert_close(guided.eps[1], free.eps[1])
    assert not torch.allclose(guided.eps[0], free.eps[0])


def test_one_level_per_image_will_do() -> None:
    denoiser, condition, x = setting()
    n = torch.tensor([2, 5, 9])
    together = classifier_free(denoiser, condition, 2.0)(x, linear(10).level(n))
    for i in range(3):
        alone = classifier_free(denoiser, Condition(vector=condition.vector[i : i + 1]), 2.0)
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
    denoiser = Denoiser(Network(), parameterization("v", schedule), schedule)
    _, condition, x = setting()
    guided = classifier_free(denoiser, condition, 2.0)(x, schedule(1.0))
    assert bool(guided.x0.isfinite().all())
    torch.testing.assert_close(guided.eps, x)


def test_a_learned_variance_is_the_conditional_predictions() -> None:
    class WithVariance(Network):
        def forward(self, x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
            return torch.cat([super().forward(x, t, condition), super().forward(x.flip(-2), t, condition)], dim=1)

    schedule = linear(10)
    _, condition, x = setting()
    denoiser = Denoiser(WithVariance(), parameterization("eps", schedule), schedule, learned_variance=True)
    level = schedule.level(6)
    guided = classifier_free(denoiser, condition, 3.0)(x, level)
    torch.testing.assert_close(guided.variance, denoiser(x, level, condition).variance)
    assert not torch.allclose(guided.variance, denoiser(x, level, condition.hide()).variance)
