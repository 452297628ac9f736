"""The configuration of a diffusion builds its schedule, its denoiser, its loss and its times."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unstir.config import checked
from unstir.diffusion import Condition, DiscreteSchedule, NoiseLevel, Sockets
from unstir.diffusion.config import DiffusionConfig, ScheduleConfig
from unstir.diffusion.corruption import masking
from unstir.diffusion.objective import Bound, Dual, Hybrid, SquaredError
from unstir.diffusion.parameterization import Dual as DualMeaning
from unstir.diffusion.parameterization import Karras, Mean, V
from unstir.diffusion.schedule import LearnedSchedule, schedules
from unstir.diffusion.times import Importance, log_normal, uniform
from unstir.errors import InputError

OPTIONS: dict[str, dict[str, Any]] = {
    "linear": {"steps": 12, "beta_start": 1e-3, "beta_end": 0.3},
    "quadratic": {"steps": 12, "beta_start": 1e-3, "beta_end": 0.3},
    "sigmoid": {"steps": 12, "beta_start": 1e-3, "beta_end": 0.3},
    "cosine": {"steps": 12, "s": 0.02, "max_beta": 0.8},
    "ladder": {"steps": 12, "sigma_min": 0.02, "sigma_max": 9.0},
    "vp": {"beta_min": 0.2, "beta_max": 10.0},
    "ve": {"sigma_min": 0.02, "sigma_max": 9.0},
    "flow": {},
    "single": {"amount": 0.3},
}


@pytest.mark.parametrize("name", schedules)
def test_a_schedule_is_built_with_its_values(name: str) -> None:
    t = torch.tensor([0.1, 0.5, 0.93, 1.0]).double()
    for values in ({}, OPTIONS[name], *({key: value} for key, value in OPTIONS[name].items())):
        built, right = ScheduleConfig(name=name, **values).build()(t), schedules[name](**values)(t)
        torch.testing.assert_close(built.alpha, right.alpha, rtol=0, atol=0)
        torch.testing.assert_close(built.sigma, right.sigma, rtol=0, atol=0)


@pytest.mark.parametrize("name", schedules)
def test_a_configuration_knows_how_many_levels_its_schedule_has(name: str) -> None:
    for values in ({}, OPTIONS[name]):
        config = ScheduleConfig(name=name, **values)
        assert config.discrete_steps == getattr(config.build(), "steps", None)


def test_a_schedule_takes_its_own_values_alone() -> None:
    every = {key: value for options in OPTIONS.values() for key, value in options.items()}
    for name, own in OPTIONS.items():
        for key in every.keys() - own.keys():
            with pytest.raises(InputError, match=f"{name} takes no {key}"):
                checked(ScheduleConfig, {"name": name, key: every[key]})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "ve", "sigma_min": 60.0}, "sigma_min must lie below sigma_max"),  # its default
        ({"name": "ve", "sigma_min": 50.0, "sigma_max": 0.01}, "sigma_min must lie below sigma_max"),
        ({"name": "ladder", "sigma_max": 0.01}, "sigma_min must lie below sigma_max"),
    ],
)
def test_ranges_that_fall_are_refused_before_torch_is_needed(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        checked(ScheduleConfig, values)
    with pytest.raises(InputError, match="above 0"):
        schedules[values["name"]](**{key: value for key, value in values.items() if key != "name"})


@pytest.mark.parametrize(
    "values",
    [
        {"name": "linear", "beta_start": 0.5, "beta_end": 0.1},
        {"name": "quadratic", "beta_start": 0.03},
        {"name": "sigmoid", "beta_end": 1e-5},
        {"name": "vp", "beta_min": 50.0},
        {"name": "vp", "beta_min": 0.0},
        {"name": "cosine", "s": 0.0},
    ],
)
def test_betas_that_fall_and_values_of_zero_are_configured(values: dict[str, Any]) -> None:
    built = checked(ScheduleConfig, values).build()(0.4)
    right = schedules[values["name"]](**{key: value for key, value in values.items() if key != "name"})(0.4)
    assert 0 < float(built.alpha) == float(right.alpha) < 1


def test_learned_betas_start_at_the_named_ones() -> None:
    schedule = ScheduleConfig(name="linear", steps=10, learned=True).build()
    assert isinstance(schedule, LearnedSchedule)
    torch.testing.assert_close(schedule.betas.detach(), schedules["linear"](10).betas, rtol=1e-6, atol=0)
    for name in ("ladder", "ve", "flow"):
        with pytest.raises(InputError, match=f"{name} has no betas that could be learned"):
            checked(ScheduleConfig, {"name": name, "learned": True})


class Told(nn.Module):
    """Answers what it is told, as many images as its outputs."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
        assert sockets.vector is not None
        return (sockets.vector[:, :, None, None] + 0 * x).repeat(1, self.outputs, 1, 1)


class Conditioner(nn.Module):
    def forward(self, condition: Condition, x: Tensor) -> Sockets:
        return Sockets(vector=condition.parts["age"][0])


def test_a_denoiser_is_built_of_its_parts() -> None:
    config = DiffusionConfig(schedule=ScheduleConfig(name="linear", steps=8), parameterization="v")
    network, conditioner = Told(config.outputs), Conditioner()
    denoiser = config.build(network, conditioner)
    assert denoiser.network is network and denoiser.conditioner is conditioner
    assert isinstance(denoiser.parameterization, V) and not denoiser.learned_variance
    assert isinstance(denoiser.schedule, DiscreteSchedule) and denoiser.schedule.steps == 8
    x, level = torch.randn(2, 1, 2, 2).double(), denoiser.schedule(0.5)
    prediction = denoiser(x, level, Condition.of({"age": torch.tensor([[0.3], [0.7]]).double()}))
    torch.testing.assert_close(prediction.v[:, 0, 0, 0], torch.tensor([0.3, 0.7]).double())


def test_a_denoiser_means_what_its_configuration_says() -> None:
    karras = DiffusionConfig(parameterization="karras", sigma_data=0.7).build(Told(1))
    assert isinstance(karras.parameterization, Karras) and karras.parameterization.sigma_data == 0.7
    mean = DiffusionConfig(parameterization="mean").build(Told(1))
    assert isinstance(mean.parameterization, Mean)
    with pytest.raises(InputError):
        DiffusionConfig(parameterization="mean", schedule=ScheduleConfig(name="flow")).build(Told(1))
    config = DiffusionConfig(parameterization="dual", objective="bound", variance="learned")
    denoiser = config.build(Told(config.outputs), Conditioner())
    assert config.outputs == 4 and denoiser.learned_variance
    assert isinstance(denoiser.parameterization, DualMeaning)
    x = torch.zeros(1, 1, 2, 2)
    prediction = denoiser(x, denoiser.schedule(0.5), Condition.of({"age": torch.tensor([[0.5]])}))
    torch.testing.assert_close(prediction.variance, torch.full_like(x, 0.75))


def test_each_denoiser_has_a_schedule_of_its_own() -> None:
    config = DiffusionConfig(schedule=ScheduleConfig(name="linear", learned=True), objective="bound")
    one, other = config.build(Told(1)), config.build(Told(1))
    assert one.schedule is not other.schedule and "schedule.logits" in one.state_dict()


def _loss(config: DiffusionConfig, variance: str = "small") -> Any:
    return config.build_objective(config.schedule.build(), variance)  # type: ignore[arg-type]


def test_the_objective_is_the_named_one() -> None:
    assert _loss(DiffusionConfig()) == SquaredError("eps")
    assert _loss(DiffusionConfig(parameterization="v", objective="x0")) == SquaredError("x0")
    assert isinstance(_loss(DiffusionConfig(parameterization="dual", objective="dual")), Dual)
    single = ScheduleConfig(name="single")
    dae = DiffusionConfig(schedule=single, parameterization="x0", objective="x0", corruption="masking")
    assert _loss(dae) == SquaredError("x0", corrupt=masking)
    karras = DiffusionConfig(parameterization="karras", objective="karras", sigma_data=0.25)
    level = NoiseLevel.clean()
    level = NoiseLevel(level.t + 0.5, level.alpha, level.sigma + 0.5)
    assert float(_loss(karras).weight(level)) == pytest.approx(4 + 16)


def test_the_variance_of_the_bound_is_the_networks_or_the_one_given() -> None:
    for given in ("small", "large"):
        bound = _loss(DiffusionConfig(objective="bound"), given)
        assert isinstance(bound, Bound) and bound.variance == given
        learned = _loss(DiffusionConfig(objective="bound", variance="learned"), given)
        assert learned.variance == "learned"
        hybrid = _loss(DiffusionConfig(objective="hybrid", variance="learned"), given)
        assert isinstance(hybrid, Hybrid) and hybrid.bound.variance == "learned"


def test_the_times_are_the_named_ones() -> None:
    schedule = ScheduleConfig(steps=17)
    for name, right in (("uniform", uniform), ("log_normal", log_normal)):
        assert DiffusionConfig(schedule=schedule, times=name).build_times(schedule.build()) is right
    times = DiffusionConfig(schedule=schedule, times="importance").build_times(schedule.build())
    assert isinstance(times, Importance) and len(times.counts) == 17


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"objective": "hybrid"}, "the objective hybrid needs variance=learned"),
        ({"variance": "learned"}, "variance=learned needs the objective hybrid or bound"),
        ({"schedule": {"name": "flow"}, "objective": "bound"}, "the objective bound needs a discrete schedule"),
        ({"schedule": {"name": "vp"}, "times": "importance"}, "the times importance need a discrete schedule"),
        ({"objective": "bound", "times": "log_normal"}, "needs the times uniform or importance"),
        ({"schedule": {"learned": True}}, "schedule.learned needs the objective bound"),
        ({"objective": "v"}, "the objective v does not train a network that predicts eps"),
        ({"objective": "dual"}, "the objective dual needs the parameterization dual"),
        ({"corruption": "masking"}, "masking needs the schedule single"),
    ],
)
def test_parts_that_do_not_fit_are_told(values: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        checked(DiffusionConfig, values)
