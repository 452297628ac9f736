"""How images are drawn, as checked values without torch: the samplers with the values of each, and the grid.

A sampler is one class here, with its name and its values as fields. The fields make the command's options, the
tables of them and the checks: a new solver is its own file, and its class with ``@samplers.add`` above it.
"""

from __future__ import annotations

import math
import types
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from unstir.config import AboveZero, AtLeastZero, Fraction, Kinds, Number, Part, Steps, reason
from unstir.errors import InputError, cut, nearest

if TYPE_CHECKING:
    from unstir.diffusion import Schedule
    from unstir.diffusion.posterior import Variance
    from unstir.sampling.trajectory import Sampler


class SamplerConfig(Part):
    """A sampler and its values, each a field with a description; none is called as one of ``SamplingConfig``."""

    naming: ClassVar[str | None] = "name"
    takes_drift: ClassVar[bool] = False
    """Whether it moves by a prediction's drift itself; for the others the drift is a part of the score."""

    name: str

    def evaluations(self, steps: int) -> int:
        """Return how often the network is asked for each image in ``steps`` steps, the last to clean data."""
        return steps

    @property
    def reverse_variance(self) -> Variance:
        """Which variance the model's reverse steps have; ``learned`` needs a network that tells it."""
        return "small"

    @abstractmethod
    def build(self, schedule: Schedule, steps: int) -> Sampler:
        """Return the sampler.

        Args:
            schedule: That of the levels it will visit.
            steps: How many steps it will take, the last to clean data included.
        """


samplers: Kinds[SamplerConfig] = Kinds("sampler", key="name")
"""All samplers by name, as ``--sampler`` takes them."""

AnySampler = Annotated[SerializeAsAny[SamplerConfig], BeforeValidator(samplers.read)]


@samplers.add
class DDPMConfig(SamplerConfig):
    """The ancestral sampler (Ho et al. 2020), with fresh noise: first order, one evaluation a step."""

    takes_drift: ClassVar[bool] = True

    name: Literal["ddpm"] = "ddpm"
    variance: Literal["small", "large", "learned"] = Field(
        "small", description="small, large or learned, how much fresh noise"
    )

    @property
    def reverse_variance(self) -> Variance:  # noqa: D102
        return self.variance

    def build(self, schedule: Schedule, steps: int) -> Sampler:  # noqa: D102
        from unstir.sampling.ddpm import DDPM

        return DDPM(self.variance)


@samplers.add
class DDIMConfig(SamplerConfig):
    """DDIM (Song et al. 2021), from no fresh noise to all: first order, one evaluation a step."""

    name: Literal["ddim"] = "ddim"
    eta: Fraction = Field(0.0, description="from 0, no fresh noise, to 1, as ddpm")

    def build(self, schedule: Schedule, steps: int) -> Sampler:  # noqa: D102
        from unstir.sampling.ddim import DDIM

        return DDIM(self.eta)


class ChurnedConfig(SamplerConfig):
    """A solver without memory, before whose steps there may be fresh noise: :class:`unstir.sampling.Churn`."""

    churn: AtLeastZero = Field(0.0, description="how much fresh noise over all steps; 0 is none")
    """Karras's S_churn."""
    churn_min: AtLeastZero = Field(0.0, description="the least sigma / alpha at which there is churn")
    churn_max: AtLeastZero | None = Field(None, description="the most sigma / alpha at which there is churn")
    churn_noise: AtLeastZero = Field(1.0, description="the churn's standard deviation, about 1")

    @model_validator(mode="after")
    def _range_is_one(self) -> ChurnedConfig:
        if self.churn_max is not None and self.churn_min > self.churn_max:
            raise ValueError(f"churn_min, {self.churn_min:g}, lies above churn_max, {self.churn_max:g}")
        return self

    @abstractmethod
    def solver(self) -> Sampler:
        """Return the solver without churn."""

    def build(self, schedule: Schedule, steps: int) -> Sampler:  # noqa: D102
        from unstir.sampling.churn import Churn

        if self.churn == 0:
            return self.solver()
        s_tmax = float("inf") if self.churn_max is None else self.churn_max
        return Churn(self.solver(), schedule, steps, self.churn, self.churn_min, s_tmax, self.churn_noise)


@samplers.add
class EulerConfig(ChurnedConfig):
    """Euler's method (Karras et al. 2022): first order, one evaluation a step."""

    name: Literal["euler"] = "euler"

    def solver(self) -> Sampler:  # noqa: D102
        from unstir.sampling.euler import Euler

        return Euler()


@samplers.add
class HeunConfig(ChurnedConfig):
    """Heun's method (Karras et al. 2022): second order, two evaluations a step."""

    name: Literal["heun"] = "heun"

    def evaluations(self, steps: int) -> int:  # noqa: D102
        return 2 * steps - 1

    def solver(self) -> Sampler:  # noqa: D102
        from unstir.sampling.heun import Heun

        return Heun()


@samplers.add
class DPM2MConfig(SamplerConfig):
    """DPM-Solver++ 2M (Lu et al. 2022b): second order, one evaluation a step."""

    name: Literal["dpm++2m"] = "dpm++2m"

    def build(self, schedule: Schedule, steps: int) -> Sampler:  # noqa: D102
        from unstir.sampling.dpm import DPMSolver

        return DPMSolver(2)


@samplers.add
class DPM3MConfig(SamplerConfig):
    """DPM-Solver++ 3M (Lu et al. 2022b): third order, one evaluation a step."""

    name: Literal["dpm++3m"] = "dpm++3m"

    def build(self, schedule: Schedule, steps: int) -> Sampler:  # noqa: D102
        from unstir.sampling.dpm import DPMSolver

        return DPMSolver(3)


@samplers.add
class DPMSDEConfig(SamplerConfig):
    """DPM-Solver++ 2M with fresh noise (Lu et al. 2022b): one evaluation a step."""

    name: Literal["dpm++sde"] = "dpm++sde"

    def build(self, schedule: Schedule, steps: int) -> Sampler:  # noqa: D102
        from unstir.sampling.dpm import DPMSolver

        return DPMSolver(2, eta=1.0)


@samplers.add
class UniPCConfig(SamplerConfig):
    """UniPC (Zhao et al. 2023), predictor and corrector: third order, one evaluation a step."""

    name: Literal["unipc"] = "unipc"
    order: Literal[2, 3] = Field(3, description="2 or 3")

    def build(self, schedule: Schedule, steps: int) -> Sampler:  # noqa: D102
        from unstir.sampling.unipc import UniPC

        return UniPC(self.order)


@samplers.add
class PLMSConfig(SamplerConfig):
    """Pseudo linear multistep (Liu et al. 2022): second order, one evaluation a step and one more."""

    name: Literal["plms"] = "plms"

    def evaluations(self, steps: int) -> int:  # noqa: D102
        return steps + (steps > 1)

    def build(self, schedule: Schedule, steps: int) -> Sampler:  # noqa: D102
        from unstir.sampling.plms import PLMS

        return PLMS()


_UPDATES = "Langevin updates on each level"


@samplers.add
class LangevinConfig(SamplerConfig):
    """Annealed Langevin dynamics (Song and Ermon 2019): updates on each level, the first included."""

    name: Literal["langevin"] = "langevin"
    epsilon: Annotated[float, Number, Field(gt=0, lt=4)] | None = Field(
        None, description="the step, in units of the smallest variance"
    )
    """None: by the ratio of the levels."""
    updates: Steps = Field(5, description=_UPDATES)

    def evaluations(self, steps: int) -> int:  # noqa: D102
        return steps * self.updates + 1 if steps > 1 else 1

    def build(self, schedule: Schedule, steps: int) -> Sampler:  # noqa: D102
        from unstir.sampling.langevin import AnnealedLangevin

        return AnnealedLangevin(self.updates, self.epsilon)


@samplers.add
class PredictorCorrectorConfig(SamplerConfig):
    """Predictor-corrector (Song et al. 2021): a solver's step to each level, then Langevin updates on it."""

    name: Literal["pc"] = "pc"
    predictor: Literal["reverse", "ancestral"] = Field("reverse", description="reverse or ancestral")
    snr: AboveZero = Field(0.16, description="how long a correction is beside its noise")
    updates: Steps = Field(1, description=_UPDATES)

    def evaluations(self, steps: int) -> int:  # noqa: D102
        return (steps - 1) * (1 + self.updates) + 1

    def build(self, schedule: Schedule, steps: int) -> Sampler:  # noqa: D102
        from unstir.sampling.predictor_corrector import PredictorCorrector, predictors

        return PredictorCorrector(predictors[self.predictor], self.snr, self.updates)


class SamplingConfig(Part):
    """How a model's images are drawn unless the user says otherwise."""

    sampler: AnySampler = DDIMConfig()
    steps: Steps = 50
    spacing: Literal["trailing", "leading", "linspace", "quadratic", "uniform", "log_snr", "karras"] = "trailing"
    schedule: Literal["linear", "quadratic", "cosine", "sigmoid", "vp", "ve", "flow"] | None = None
    """The schedule to sample on, with its default values; None is the trained one."""
    guidance: Annotated[float, Number, Field(ge=0, le=100)] = 0.0
    guidance_min: AtLeastZero = 0.0
    """The least sigma / alpha at which there is guidance."""
    guidance_max: AtLeastZero | None = None
    """The most; None is no limit."""
    guidance_rescale: Fraction = 0.0
    """How much of the contrast that guidance adds is taken back."""
    clip: Literal["static", "dynamic", "none"] = "static"

    @model_validator(mode="after")
    def _guidance_has_levels(self) -> SamplingConfig:
        least, most = self.guided_levels
        if least > most:
            raise ValueError(f"guidance_min, {least:g}, lies above guidance_max, {most:g}")
        return self

    @property
    def guided_levels(self) -> tuple[float, float]:
        """The least and the most sigma / alpha at which there is guidance."""
        return self.guidance_min, math.inf if self.guidance_max is None else self.guidance_max

    @property
    def evaluations(self) -> int:
        """How often the network is asked for each image."""
        return self.sampler.evaluations(self.steps)

    def build(self, schedule: Schedule) -> Sampler:
        """Return the sampler, for the schedule that it is to sample on."""
        return self.sampler.build(schedule, self.steps)

    def tiny(self) -> SamplingConfig:
        """Return the same with at most 4 steps."""
        return self.model_copy(update={"sampler": self.sampler.tiny(), "steps": min(self.steps, 4)})

    def with_options(self, options: Mapping[str, object]) -> SamplingConfig:
        """Return these values with ``options`` in their place; those that are None are left out.

        Args:
            options: This configuration's fields and those of the sampler, side by side. Another sampler than the
                one already here starts at its own defaults.

        Raises:
            InputError: For an unknown option, one that the sampler does not take, or a value out of range.
        """
        asked = {key: value for key, value in options.items() if value is not None}
        general, of_samplers = type(self).model_fields, sampler_options()
        for key in asked:
            if key not in general and key not in of_samplers:
                raise InputError(f"Sampling takes no '{key}'{nearest(key, [*general, *of_samplers])}")
        values = {**dict(self), **{key: asked.pop(key) for key in general if key in asked}}
        if values["sampler"] == self.sampler.name:
            values["sampler"] = self.sampler
        result = _read(type(self), values)
        vain = [key for key in options if key.startswith("guidance_") and options[key] is not None]
        if vain and result.guidance == 0:
            raise InputError(f"The {vain[0]} of sampling is for guidance, which is off: ask for guidance too")
        for key in asked:
            if key not in type(result.sampler).model_fields:
                owners = of_samplers[key].samplers
                raise InputError(
                    f"The {key} of sampling belongs to the sampler {' or '.join(owners)}, and this run would be "
                    f"sampled by {result.sampler.name}: ask for {owners[0]} too"
                )
        return result.model_copy(
            update={"sampler": _read(type(result.sampler), {**dict(result.sampler), **asked})}
        )


@dataclass(frozen=True)
class SamplerOption:
    """A value that belongs to some samplers only.

    Attributes:
        type: As a command reads it: ``float``, ``int``, ``bool`` or ``str``.
        help: One sentence that begins with the samplers' names.
        samplers: Their names.
    """

    type: type
    help: str
    samplers: tuple[str, ...]


def sampler_options() -> dict[str, SamplerOption]:
    """Return the options of all samplers by name, in the order in which the samplers were added."""
    owners: dict[str, dict[str, Any]] = {}
    for sampler, config in samplers.known.items():
        for option, field in config.model_fields.items():
            if option != samplers.key:
                owners.setdefault(option, {})[sampler] = field
    return {option: _joined(option, fields) for option, fields in owners.items()}


def _joined(option: str, fields: Mapping[str, Any]) -> SamplerOption:
    """Return what the samplers that have a field of this name say of it, together."""
    described: dict[str, list[str]] = {}
    for sampler, field in fields.items():
        described.setdefault(field.description or option, []).append(sampler)
    told = "; ".join(f"{', '.join(names)}: {description}" for description, names in described.items())
    kinds = {_plain(field.annotation) for field in fields.values()}
    return SamplerOption(kinds.pop() if len(kinds) == 1 else str, f"{told}.", tuple(fields))


def _plain(annotation: Any) -> type:
    """Return the type of a field's plain values, without its limits and without None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain(get_args(annotation)[0])
    if origin is Literal:
        return type(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return _plain(next(kind for kind in get_args(annotation) if kind is not type(None)))
    return annotation if isinstance(annotation, type) else str


Values = TypeVar("Values", bound=Part)


def _read(part: type[Values], values: Mapping[str, object]) -> Values:
    try:
        return part.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise InputError(f"Sampling cannot be so: {reason(error)}") from None
        name = first["loc"][-1]
        raise InputError(
            f"The {name} of sampling cannot be {cut(repr(first['input']))}: {reason(error)}"
        ) from None
