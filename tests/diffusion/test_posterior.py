"""The posterior between two levels against Bayes' rule, worked out without its formula."""

import numpy as np
import pytest
import torch

from unstir.diffusion import DiscreteSchedule, NoiseLevel
from unstir.diffusion.posterior import posterior, step_variance
from unstir.diffusion.schedule import cosine, flow, linear, quadratic, schedules, sigmoid, ve, vp


def conditional(x0: float, x_here: float, here: NoiseLevel, there: NoiseLevel) -> tuple[float, float]:
    """Mean and variance of x_there given x_here and x0, by conditioning the joint Gaussian of a chain.

    The chain's last link is ``x_here = a x_there + sqrt(b) z``; only that it ends in the right marginal
    determines a and b.
    """
    a = (here.alpha / there.alpha).item()
    b = here.sigma.item() ** 2 - a**2 * there.sigma.item() ** 2
    links = np.array([[there.sigma.item(), 0.0], [a * there.sigma.item(), b**0.5]])
    covariance = links @ links.T
    mean = np.array([there.alpha.item(), here.alpha.item()]) * x0
    gain = covariance[0, 1] / covariance[1, 1]
    return mean[0] + gain * (x_here - mean[1]), covariance[0, 0] - gain * covariance[1, 0]


@pytest.mark.parametrize("name", sorted(schedules))
def test_equals_the_conditional_gaussian(name: str) -> None:
    schedule = schedules[name]()
    for t_here, t_there in [(0.05, 0.02), (0.5, 0.499), (0.9, 0.1), (0.99, 0.5)]:
        here, there = schedule(t_here), schedule(t_there)
        of_x0, of_x, variance = (value.item() for value in posterior(here, there))
        mean, expected = conditional(0.7, -1.3, here, there)
        assert of_x0 * 0.7 + of_x * -1.3 == pytest.approx(mean, rel=1e-9)
        assert variance == pytest.approx(expected, rel=1e-7)


def test_equals_bayes_rule_on_a_grid_of_numbers() -> None:
    # q(x_s | x_t, x0) is proportional to q(x_t | x_s) q(x_s | x0); q(x_t | x_s) follows from the betas alone.
    schedule = linear(30, 1e-3, 0.2)
    s, t, x0, x_t = 9, 14, 0.4, -0.8
    kept = float(torch.prod(1 - schedule.betas[s:t]))
    alpha_bar = float(torch.prod(1 - schedule.betas[:s]))
    x_s = np.linspace(-6, 6, 200_001)
    log_density = -((x_s - alpha_bar**0.5 * x0) ** 2) / (2 * (1 - alpha_bar))
    log_density -= (x_t - kept**0.5 * x_s) ** 2 / (2 * (1 - kept))
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    mean = (density * x_s).sum()
    of_x0, of_x, variance = (value.item() for value in posterior(schedule.level(t), schedule.level(s)))
    assert of_x0 * x0 + of_x * x_t == pytest.approx(mean, rel=1e-8)
    assert variance == pytest.approx((density * (x_s - mean) ** 2).sum(), rel=1e-8)


@pytest.mark.parametrize("schedule", [linear(40), cosine(40), quadratic(40), sigmoid(40)])
def test_neighbours_follow_ddpms_equations(schedule: DiscreteSchedule) -> None:
    alpha_bar = torch.cat([torch.ones(1).double(), schedule.alphas_cumprod])
    n = torch.arange(1, 41)
    beta, here, there = schedule.betas, alpha_bar[1:], alpha_bar[:-1]
    of_x0, of_x, variance = posterior(schedule.level(n), schedule.level(n - 1))
    tight = {"rtol": 1e-8, "atol": 1e-12}
    torch.testing.assert_close(of_x0, there.sqrt() * beta / (1 - here), **tight)
    torch.testing.assert_close(of_x, (1 - beta).sqrt() * (1 - there) / (1 - here), **tight)
    torch.testing.assert_close(variance, (1 - there) / (1 - here) * beta, **tight)
    torch.testing.assert_close(step_variance(schedule.level(n), schedule.level(n - 1)), beta, **tight)


def test_a_subset_is_the_respaced_chain() -> None:
    # Nichol and Dhariwal 2021, section 3.3: betas made from the alpha_bars that are kept.
    schedule, kept = linear(100), torch.tensor([3, 10, 11, 64, 100])
    alpha_bar = schedule.alphas_cumprod[kept - 1]
    before = torch.cat([torch.ones(1).double(), alpha_bar[:-1]])
    respaced = DiscreteSchedule(1 - alpha_bar / before)
    for i in range(1, len(kept) + 1):
        there = schedule.level(kept[i - 2]) if i > 1 else NoiseLevel.clean()
        ours = posterior(schedule.level(kept[i - 1]), there)
        for a, b in zip(ours, posterior(respaced.level(i), respaced.level(i - 1))):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", sorted(schedules))
def test_down_to_clean_data_the_answer_is_the_image(name: str) -> None:
    of_x0, of_x, variance = posterior(schedules[name]()(0.3), NoiseLevel.clean())
    assert of_x0.item() == pytest.approx(1, abs=1e-12)
    assert of_x.item() == 0 and variance.item() == 0


def test_from_pure_noise_nothing_is_learned_from_x() -> None:
    here, there = flow()(1.0), flow()(0.6)
    of_x0, of_x, variance = posterior(here, there)
    assert of_x0.item() == pytest.approx(0.4) and of_x.item() == 0
    assert variance.item() == pytest.approx(0.36)


def test_ve_adds_variances() -> None:
    here, there = ve()(0.7), ve()(0.5)
    assert step_variance(here, there).item() == pytest.approx(here.sigma.item() ** 2 - there.sigma.item() ** 2)


def test_the_posterior_keeps_the_marginal() -> None:
    # Drawing x_here from q(.|x0), then x_there from the posterior, must leave x_there in q(.|x0).
    for schedule in (vp(), flow(), ve()):
        here, there = schedule(torch.tensor([0.3, 0.8])), schedule(torch.tensor([0.2, 0.1]))
        of_x0, of_x, variance = posterior(here, there)
        torch.testing.assert_close(of_x0 + of_x * here.alpha, there.alpha, rtol=1e-10, atol=0)
        torch.testing.assert_close(of_x**2 * here.sigma**2 + variance, there.sigma**2, rtol=1e-10, atol=0)
