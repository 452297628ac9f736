"""Samplers as configurations: what they build, what they cost, how options reach them, and one of ones own."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import Field
from torch import Tensor

from unstir.config import checked
from unstir.diffusion import NoiseLevel, Prediction, Schedule
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.schedule import cosine, linear
from unstir.errors import InputError
from unstir.sampling import (
    DDIM,
    DDPM,
    PLMS,
    AnnealedLangevin,
    Churn,
    DPMSolver,
    Euler,
    Heun,
    PredictorCorrector,
    Sampler,
    UniPC,
    grid,
    sample,
    samplers,
)
from unstir.sampling.config import (
    DDIMConfig,
    DDPMConfig,
    HeunConfig,
    LangevinConfig,
    SamplerConfig,
    SamplingConfig,
    sampler_options,
)
from unstir.sampling.predictor_corrector import ReverseDiffusion

SCHEDULE = linear(50)
DENOISE = GaussianMixtureDenoiser(torch.tensor([[0.3, -0.2]]), torch.tensor([0.4]), torch.ones(1))

BUILT: list[tuple[dict[str, Any], Sampler]] = [
    ({"name": "ddpm"}, DDPM("small")),
    ({"name": "ddpm", "variance": "large"}, DDPM("large")),
    ({"name": "ddim"}, DDIM(0.0)),
    ({"name": "ddim", "eta": 0.3}, DDIM(0.3)),
    ({"name": "euler"}, Euler()),
    ({"name": "euler", "churn": 2.0}, Churn(Euler(), SCHEDULE, 7, 2.0)),
    ({"name": "heun"}, Heun()),
    (
        {"name": "heun", "churn": 2.0, "churn_min": 0.1, "churn_max": 9.0, "churn_noise": 1.01},
        Churn(Heun(), SCHEDULE, 7, 2.0, 0.1, 9.0, 1.01),
    ),
    ({"name": "dpm++2m"}, DPMSolver(2, 0.0)),
    ({"name": "dpm++3m"}, DPMSolver(3, 0.0)),
    ({"name": "dpm++sde"}, DPMSolver(2, 1.0)),
    ({"name": "unipc"}, UniPC(3)),
    ({"name": "unipc", "order": 2}, UniPC(2)),
    ({"name": "plms"}, PLMS()),
    ({"name": "langevin"}, AnnealedLangevin(5, None)),
    ({"name": "langevin", "updates": 2, "epsilon": 0.5}, AnnealedLangevin(2, 0.5)),
    ({"name": "pc"}, PredictorCorrector(ReverseDiffusion(), 0.16, 1)),
    ({"name": "pc", "predictor": "ancestral", "snr": 0.2, "updates": 3}, PredictorCorrector(DDPM(), 0.2, 3)),
]


def _identity(values: dict[str, Any]) -> str:
    return " ".join(map(str, values.values()))


@pytest.mark.parametrize(("values", "sampler"), BUILT, ids=[_identity(values) for values, _ in BUILT])
def test_a_configuration_builds_its_sampler(values: dict[str, Any], sampler: Sampler) -> None:
    config = checked(SamplingConfig, {"sampler": values, "steps": 7})
    assert config.build(SCHEDULE) == sampler
    again = checked(SamplingConfig, config.model_dump(mode="json"))
    assert again == config and again.build(SCHEDULE) == sampler


def test_every_sampler_is_built_here() -> None:
    assert list(samplers.known) == list(dict.fromkeys(values["name"] for values, _ in BUILT))


@pytest.mark.parametrize("values", [values for values, _ in BUILT], ids=_identity)
@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_evaluations_are_the_networks_calls(values: dict[str, Any], steps: int) -> None:
    config, calls = checked(SamplingConfig, {"sampler": {**values}, "steps": steps}), []

    def denoise(x: Tensor, level: NoiseLevel) -> Prediction:
        calls.append(level)
        prediction = DENOISE(x, level)
        return Prediction(prediction.x0, prediction.eps, level, torch.zeros_like(x))

    x = torch.randn(2, 2, generator=torch.Generator().manual_seed(0))
    sample(denoise, x, grid(SCHEDULE, steps), config.build(SCHEDULE), torch.randn_like)
    assert config.evaluations == config.sampler.evaluations(steps) == len(calls)


def test_only_a_learned_variance_needs_a_network_that_tells_it() -> None:
    assert {name for name, kind in samplers.known.items() if kind().reverse_variance != "small"} == set()
    assert DDPMConfig(variance="learned").reverse_variance == "learned"
    assert DDPMConfig(variance="large").reverse_variance == "large"


def test_a_sampler_may_be_named_alone() -> None:
    assert SamplingConfig(sampler="heun").sampler == HeunConfig()
    assert SamplingConfig(sampler=DDIMConfig(eta=0.5)).sampler == DDIMConfig(eta=0.5)


def test_the_tiny_version_takes_four_steps() -> None:
    config = SamplingConfig(sampler="pc", steps=300, guidance=2.0)
    assert config.tiny() == SamplingConfig(sampler="pc", steps=4, guidance=2.0)
    assert SamplingConfig(steps=2).tiny().steps == 2


def test_options_take_the_place_of_values() -> None:
    config = SamplingConfig(steps=30, guidance=0.5)
    asked = {"sampler": "langevin", "steps": 9, "updates": 2, "epsilon": 0.1, "eta": None, "clip": None}
    assert config.with_options(asked) == SamplingConfig(
        sampler=LangevinConfig(updates=2, epsilon=0.1), steps=9, guidance=0.5
    )
    assert config.with_options({}) == config
    assert config.with_options({"guidance": 0.0}).guidance == 0


def test_another_sampler_starts_at_its_own_defaults_and_the_one_there_stays() -> None:
    config = SamplingConfig(sampler=LangevinConfig(updates=2, epsilon=0.1))
    assert config.with_options({"epsilon": 0.3}).sampler == LangevinConfig(updates=2, epsilon=0.3)
    assert config.with_options({"sampler": "langevin"}).sampler == LangevinConfig(updates=2, epsilon=0.1)
    assert config.with_options({"sampler": "pc"}).build(SCHEDULE) == PredictorCorrector(
        ReverseDiffusion(), 0.16, 1
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"stepz": 3}, "Sampling takes no 'stepz'; did you mean 'steps'?"),
        ({"churn_mim": 3}, "Sampling takes no 'churn_mim'; did you mean 'churn_min'?"),
        (
            {"eta": 0.5, "sampler": "ddpm"},
            "The eta of sampling belongs to the sampler ddim, and this run would be sampled by ddpm: "
            "ask for ddim too",
        ),
        (
            {"updates": 3},
            "The updates of sampling belongs to the sampler langevin or pc, and this run would be sampled by "
            "ddim: ask for langevin too",
        ),
        ({"steps": 0}, "The steps of sampling cannot be 0: input should be greater than 0"),
        ({"eta": 1.5}, "The eta of sampling cannot be 1.5: input should be less than or equal to 1"),
        ({"sampler": "unipc", "order": 4}, "The order of sampling cannot be 4: input should be 2 or 3"),
        ({"guidance": float("inf")}, "The guidance of sampling cannot be inf: input should be a finite number"),
        (
            {"sampler": "heun", "churn_min": 2, "churn_max": 1},
            "Sampling cannot be so: churn_min, 2, lies above churn_max, 1",
        ),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError) as told:
        SamplingConfig().with_options(options)
    assert str(told.value) == sentence


def test_a_misspelt_sampler_is_told_the_right_one() -> None:
    with pytest.raises(InputError, match=r"sampler of sampling cannot be 'ddmi': .*; did you mean 'ddim'\?"):
        SamplingConfig().with_options({"sampler": "ddmi"})


def test_options_tell_their_samplers_and_their_type() -> None:
    told = {name: (option.type, option.samplers, option.help) for name, option in sampler_options().items()}
    assert told["eta"] == (float, ("ddim",), "ddim: from 0, no fresh noise, to 1, as ddpm.")
    assert told["order"] == (int, ("unipc",), "unipc: 2 or 3.")
    assert told["updates"] == (int, ("langevin", "pc"), "langevin, pc: Langevin updates on each level.")
    assert told["epsilon"][0] is told["churn_max"][0] is float
    assert told["churn"][1] == ("euler", "heun") and told["churn"][2].startswith("euler, heun: how much")
    assert told["variance"][0] is told["predictor"][0] is str
    assert not set(told) & set(SamplingConfig.model_fields)


def test_every_sampler_says_what_it_is() -> None:
    for name, kind in samplers.known.items():
        line = (kind.__doc__ or "").partition("\n")[0]
        assert line.endswith(".") and len(line) > 40, name
        assert all(field.description for key, field in kind.model_fields.items() if key != "name"), name


class Halfway:
    """Goes ``pace`` of the way of Euler's step, in x."""

    def __init__(self, pace: float) -> None:
        self.pace = pace

    def init(self, x: Tensor, start: NoiseLevel) -> None:
        pass

    def step(self, denoise, x, here, there, state, noise):  # type: ignore[no-untyped-def]
        moved, _ = Euler().step(denoise, x, here, there, state, noise)
        return torch.lerp(x, moved, self.pace), None


@pytest.fixture
def own() -> Iterator[type[SamplerConfig]]:
    @samplers.add
    class HalfwayConfig(SamplerConfig):
        """Goes a part of the way only: no order at all."""

        name: Literal["halfway"] = "halfway"
        pace: Annotated[float, Field(gt=0)] = Field(0.5, description="the part")
        updates: int | None = Field(None, description="nothing")
        quick: bool = Field(False, description="nothing either")

        def build(self, schedule: Schedule, steps: int) -> Sampler:
            return Halfway(self.pace)

    yield HalfwayConfig
    del samplers.known["halfway"]


def test_a_sampler_of_ones_own_is_drawn_with_like_any(own: type[SamplerConfig]) -> None:
    options = sampler_options()
    assert (options["pace"].type, options["pace"].help) == (float, "halfway: the part.")
    assert options["quick"].type is bool
    assert options["updates"].samplers == ("langevin", "pc", "halfway")
    assert options["updates"].help == "langevin, pc: Langevin updates on each level; halfway: nothing."
    config = SamplingConfig(steps=3).with_options({"sampler": "halfway", "pace": 0.25})
    assert config.sampler == own(pace=0.25) and config.evaluations == 3
    assert checked(SamplingConfig, config.model_dump()) == config
    with pytest.raises(InputError, match="The pace of sampling belongs to the sampler halfway"):
        SamplingConfig().with_options({"pace": 0.3})
    x, levels = torch.ones(1, 2), grid(cosine(), 3)
    drawn = sample(DENOISE, x, levels, config.build(cosine()), torch.zeros_like)
    assert torch.equal(drawn, sample(DENOISE, x, levels, Halfway(0.25), torch.zeros_like))


def test_a_sampler_that_is_gone_leaves_nothing() -> None:
    assert "halfway" not in samplers.known and "pace" not in sampler_options()


def test_configurations_need_no_torch() -> None:
    program = (
        "import sys, unstir.sampling.config, unstir.diffusion.config, unstir.networks\n"
        "from unstir.sampling import samplers\n"
        "samplers['heun'](churn=2), unstir.sampling.config.sampler_options()\n"
        "unstir.diffusion.config.DiffusionConfig().outputs\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_function_is_found_though_a_module_has_its_name() -> None:
    program = (
        "import unstir.sampling.grid, unstir.sampling.trajectory, unstir.sampling.langevin, unstir.diffusion\n"
        "import unstir.sampling as sampling\n"
        "for package in sampling, unstir.diffusion:\n"
        "    for name in package.__all__:\n"
        "        assert type(getattr(package, name)).__name__ != 'module', name\n"
        "assert sampling.grid.__name__ == 'grid' and sampling.trajectory.__name__ == 'trajectory'\n"
        "try:\n    sampling.nothing\nexcept AttributeError as error:\n    assert 'nothing' in str(error)\n"
        "else:\n    raise AssertionError"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
