"""Objectives agree with each other through the level alone; time distributions are what they say."""

import pytest
import torch
from torch import Tensor, nn

from unstir.diffusion import Condition, Denoiser, NoiseLevel, Schedule, Sockets
from unstir.diffusion.likelihood import variational_bound
from unstir.diffusion.objective import (
    Hybrid,
    SquaredError,
    karras,
    min_snr,
    objective,
    objectives,
    p2,
    score_matching,
    simple,
)
from unstir.diffusion.parameterization import Karras, parameterization
from unstir.diffusion.schedule import flow, ladder, linear, ve, vp
from unstir.errors import InputError


class Network(nn.Module):
    """A fixed function of the image and the time, each image on its own."""

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
        return torch.tanh(1.7 * x.flip(-1) + t.reshape(-1, 1, 1, 1)) - 0.3


class Told(nn.Module):
    """Answers what it was told."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
        return self.output


def normal(seed: int) -> Tensor:
    return torch.randn(6, 2, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def losses(objective: SquaredError, schedule: Schedule, level: NoiseLevel, name: str = "v") -> Tensor:
    denoiser = Denoiser(Network(), parameterization(name, schedule), schedule)
    return objective(denoiser, normal(0), level, normal(1), None)


TIMES = torch.tensor([0.01, 0.1, 0.3, 0.5, 0.8, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("name", ["eps", "x0", "v", "karras"])
@pytest.mark.parametrize("schedule", [linear(100), vp(), ve()], ids=["linear", "vp", "ve"])
def test_errors_in_two_spaces_differ_by_the_snr(schedule: Schedule, name: str) -> None:
    level = schedule(TIMES)
    of_x0 = losses(SquaredError("x0"), schedule, level, name)
    torch.testing.assert_close(losses(SquaredError("eps"), schedule, level, name), level.snr * of_x0)


def test_velocity_error_is_the_snr_plus_one_where_variance_is_preserved() -> None:
    level = vp()(TIMES)
    of_x0 = losses(SquaredError("x0"), vp(), level)
    torch.testing.assert_close(losses(SquaredError("v"), vp(), level), (level.snr + 1) * of_x0)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_cuts_the_weight_on_the_image(gamma: float) -> None:
    level = vp()(TIMES)
    assert level.snr[0] > gamma > level.snr[-1]
    of_x0 = losses(SquaredError("x0"), vp(), level)
    torch.testing.assert_close(losses(min_snr(gamma), vp(), level), level.snr.clamp(max=gamma) * of_x0)


@pytest.mark.parametrize("name", sorted(objectives))
def test_losses_and_gradients_are_finite_at_pure_noise(name: str) -> None:
    schedule = flow()
    meaning = parameterization("eps" if name in ("simple", "min_snr", "p2", "score_matching") else "v", schedule)
    output = normal(2).requires_grad_()
    loss = objectives[name]()(Denoiser(Told(output), meaning, schedule), normal(0), schedule(1.0), normal(1), None)
    loss.sum().backward()
    assert output.grad is not None
    assert bool(loss.isfinite().all()) and bool((loss > 0).all())
    assert bool(output.grad.isfinite().all()) and bool((output.grad != 0).any())


def test_min_snr_equals_simple_at_pure_noise() -> None:
    level = flow()(1.0)
    torch.testing.assert_close(losses(min_snr(), flow(), level), losses(simple(), flow(), level))


@pytest.mark.parametrize("sigma_data", [0.5, 0.9])
def test_karras_weight_undoes_the_output_scale(sigma_data: float) -> None:
    level = ve()(torch.linspace(0.05, 1, 6))
    c_out = level.sigma * sigma_data / (level.sigma**2 + sigma_data**2).sqrt()
    torch.testing.assert_close(karras(sigma_data).weight(level), 1 / c_out**2)
    # So the loss is the plain error of the network's own output.
    for schedule in (ve(), vp(), flow()):
        meaning, level = Karras(sigma_data), schedule(torch.linspace(0.05, 1, 6))
        loss = karras(sigma_data)(Denoiser(Told(normal(2)), meaning, schedule), normal(0), level, normal(1), None)
        error = normal(2) - meaning.target(normal(0), normal(1), level)
        torch.testing.assert_close(loss, (error**2).flatten(1).mean(1))


def test_simple_is_the_plain_error_of_the_noise() -> None:
    schedule = linear(10)
    level, eps = schedule.level(torch.tensor([1, 2, 4, 6, 8, 10])), normal(1)
    denoiser = Denoiser(Told(normal(2)), parameterization("eps", schedule), schedule)
    loss = simple()(denoiser, normal(0), level, eps, None)
    torch.testing.assert_close(loss, ((normal(2) - eps) ** 2).flatten(1).mean(1))
    true = Denoiser(Told(eps), parameterization("eps", schedule), schedule)
    assert torch.equal(simple()(true, normal(0), level, eps, None), torch.zeros(6).double())


@pytest.mark.parametrize("name", sorted(objectives))
def test_the_truth_costs_nothing(name: str) -> None:
    schedule = linear(100)
    level, meaning = schedule(TIMES), parameterization("v", schedule)
    denoiser = Denoiser(Told(meaning.target(normal(0), normal(1), level)), meaning, schedule)
    loss = objectives[name]()(denoiser, normal(0), level, normal(1), None)
    torch.testing.assert_close(loss, torch.zeros(6).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(objectives))
def test_an_images_loss_depends_on_that_image_only(name: str) -> None:
    schedule, objective = linear(100), objectives[name]()
    denoiser = Denoiser(Network(), parameterization("v", schedule), schedule)
    x0, eps, level = normal(0), normal(1), schedule(TIMES)
    together = objective(denoiser, x0, level, eps, None)
    assert together.shape == (6,)
    for i in range(6):
        alone = objective(denoiser, x0[i : i + 1], schedule(TIMES[i]), eps[i : i + 1], None)
        torch.testing.assert_close(together[i : i + 1], alone)


def test_the_condition_reaches_the_network() -> None:
    class Labelled(nn.Module):
        def forward(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
            assert sockets.vector is not None
            return torch.zeros_like(x) + sockets.vector.reshape(-1, 1, 1, 1)

    class LabelAsVector(nn.Module):
        def forward(self, condition: Condition, x: Tensor) -> Sockets:
            return Sockets(vector=condition.parts["label"][0])

    denoiser = Denoiser(Labelled(), parameterization("eps", vp()), vp(), LabelAsVector())
    labels, zero = torch.arange(6), torch.zeros(6, 2, 3, 4).double()
    loss = simple()(denoiser, zero, vp()(TIMES), zero, Condition.of({"label": labels}))
    torch.testing.assert_close(loss, labels.double() ** 2)


def test_simple_on_a_ladder_is_denoising_score_matching() -> None:
    """Song and Ermon 2019, equation 5 with lambda = sigma^2, for either kind of output."""
    schedule = ladder(6, 0.02, 8.0)
    level, x0, eps = schedule.level(torch.arange(1, 7)), normal(0), normal(1)
    sigma = level.sigma.reshape(-1, 1, 1, 1)
    noised = x0 + sigma * eps
    output = Network()(noised, level.t, None)
    for name, score in {"score": output, "eps": -output / sigma}.items():
        matching = 0.5 * (score + (noised - x0) / sigma**2).square().flatten(1).sum(1)
        denoiser = Denoiser(Network(), parameterization(name, schedule), schedule)
        loss = simple()(denoiser, x0, level, eps, None)
        torch.testing.assert_close(loss * x0[0].numel() / 2, level.sigma**2 * matching)


@pytest.mark.parametrize(("k", "gamma"), [(1.0, 1.0), (2.0, 0.5)])
def test_p2_weighs_the_noise_by_the_snr(k: float, gamma: float) -> None:
    level = vp()(TIMES)
    expected = losses(simple(), vp(), level) / (k + level.snr) ** gamma
    torch.testing.assert_close(losses(p2(k, gamma), vp(), level), expected)


def test_score_matching_is_vincents_error() -> None:
    # lambda / 2 |s + (x - x0) / sigma^2|^2, the noised image around the clean one: sigma explodes, alpha is 1.
    level, x0, eps = ve()(TIMES), normal(0), normal(1)
    sigma = level.sigma.reshape(-1, 1, 1, 1)
    x = x0 + sigma * eps
    denoiser = Denoiser(Network(), parameterization("score", ve()), ve())
    score = Network()(x, level.t, None)
    error = ((score + (x - x0) / sigma**2) ** 2).flatten(1).mean(1)
    torch.testing.assert_close(score_matching()(denoiser, x0, level, eps, None), level.sigma**2 / 2 * error)
    plain = score_matching(lambda level: torch.ones_like(level.sigma))
    torch.testing.assert_close(plain(denoiser, x0, level, eps, None), error / 2)


# Of several parts


def pixels(seed: int) -> Tensor:
    return (normal(seed).clamp(-1, 1).add(1).mul(127.5).round() / 127.5) - 1


class Learned(nn.Module):
    """Answers noise and variance, each from a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.spread = (nn.Parameter(torch.tensor(value).double()) for value in (0.8, -0.4))

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
        return torch.cat([self.mean * x, self.spread + 0 * x], dim=1)


def learned(schedule: Schedule) -> Denoiser:
    return Denoiser(Learned(), parameterization("eps", schedule), schedule, learned_variance=True)


def gradients(loss: Tensor, denoiser: Denoiser) -> tuple[Tensor, Tensor]:
    network = denoiser.network
    return torch.autograd.grad(loss.sum(), (network.mean, network.spread), allow_unused=True)  # type: ignore[arg-type,return-value]


def test_hybrid_gives_the_mean_no_gradient_from_the_bound() -> None:
    schedule = linear(8)
    denoiser, level = learned(schedule), schedule.level(torch.tensor([1, 2, 3, 5, 7, 8]))
    call = (denoiser, pixels(0), level, normal(1), None)
    hybrid, bound = objective("hybrid", schedule, "learned"), objective("bound", schedule, "learned")
    torch.testing.assert_close(hybrid(*call), simple()(*call) + 0.001 * bound(*call))
    mean, spread = gradients(hybrid(*call), denoiser)
    torch.testing.assert_close(mean, gradients(simple()(*call), denoiser)[0], rtol=1e-12, atol=0)
    of_bound = gradients(bound(*call), denoiser)
    torch.testing.assert_close(spread, 0.001 * of_bound[1])
    assert of_bound[0].abs() > 0.1 and spread.abs() > 1e-5


def test_the_variance_is_the_outputs_last_channels_from_minus_one_to_one() -> None:
    prediction = learned(linear())(normal(0), linear()(0.5))
    assert prediction.variance is not None
    torch.testing.assert_close(prediction.variance, torch.full_like(prediction.x0, 0.3))
    torch.testing.assert_close(prediction.eps, 0.8 * normal(0))


def test_the_mean_of_the_bound_over_levels_is_the_whole_bound() -> None:
    schedule = linear(6, 0.01, 0.5)
    denoiser, x0 = learned(schedule), pixels(0)[:1].expand(6, -1, -1, -1)
    levels = [schedule.level(n) for n in range(6, -1, -1)]
    # One draw of noise for each level, the same on both ways.
    draws = {n: normal(n)[:1] for n in range(1, 7)}
    order = iter([2, 3, 4, 5, 6, 1])

    def noise(like: Tensor) -> Tensor:
        return torch.zeros_like(like) if like.dim() == 2 else draws[next(order)]

    whole = variational_bound(denoiser, x0[:1], levels, "learned", noise).total
    eps = torch.cat([draws[n] for n in range(1, 7)])
    each = objective("bound", schedule, "learned")(denoiser, x0, schedule.level(torch.arange(1, 7)), eps, None)
    torch.testing.assert_close(each.mean(), whole[0])


class Both(nn.Module):
    """Noise, image and gate, each scaled by a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ParameterList(torch.tensor(value).double() for value in (0.5, 0.3, 0.9))

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
        return torch.cat([scale * x for scale in self.scales], dim=1)


@pytest.mark.parametrize("schedule", [linear(100), flow()], ids=["linear", "flow"])
def test_dual_teaches_the_parts_by_their_own_errors_and_the_gate_by_the_mixtures(schedule: Schedule) -> None:
    denoiser = Denoiser(Both(), parameterization("dual", schedule), schedule)
    level, x0, eps = schedule(TIMES), normal(0), normal(1)
    prediction = denoiser(level.noise(x0, eps), level)
    loss = objective("dual", schedule)(denoiser, x0, level, eps, None)
    of_eps = simple().of(prediction.of_eps, x0, eps)  # type: ignore[attr-defined]
    of_x0 = SquaredError("x0").of(prediction.of_x0, x0, eps)  # type: ignore[attr-defined]
    mixture = min_snr(1.0).of(prediction, x0, eps)
    torch.testing.assert_close(loss, of_eps + of_x0 + mixture)
    scales = list(denoiser.network.scales)  # type: ignore[arg-type]
    found = torch.autograd.grad(loss.sum(), scales)
    for i, part in enumerate((of_eps, of_x0, mixture)):
        (expected,) = torch.autograd.grad(part.sum(), scales[i], retain_graph=True)
        torch.testing.assert_close(found[i], expected)
        assert expected.abs() > 1e-3


def test_the_gates_best_is_to_trust_the_noise_where_it_is_little_and_the_image_where_it_is_much() -> None:
    # Both parts err by as much in their own space.
    schedule, x0, eps = vp(), normal(0), normal(1)
    for t, expected in ((0.02, 0.0), (0.95, 1.0)):
        level, logit = schedule(t), torch.zeros_like(x0, requires_grad=True)
        output = torch.cat([eps + 0.1 * normal(2), x0 + 0.1 * normal(3), logit], dim=1)
        for _ in range(50):
            prediction = parameterization("dual", schedule).predict(output, level.noise(x0, eps), level)
            loss = objective("dual", schedule).of(prediction, x0, eps).mean()
            (gradient,) = torch.autograd.grad(loss, logit)
            logit = (logit - 2 * gradient.sign() * 0.1).detach().requires_grad_()
            output = torch.cat([output[:, :4], logit], dim=1)
        assert prediction.gate.mean().item() == pytest.approx(expected, abs=0.2)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["variational", "bound", "hybrid"])
def test_those_of_the_bound_need_a_grid(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' needs a discrete schedule"):
        objective(name, vp())


def test_objectives_by_name() -> None:
    assert objective("karras", vp(), sigma_data=0.25).weight(vp()(0.5)) == vp()(0.5).snr + 16  # type: ignore[attr-defined]
    assert isinstance(objective("hybrid", linear(), "learned"), Hybrid)
    with pytest.raises(InputError, match="No objective is called 'simpel'"):
        objective("simpel", vp())
