"""The configuration of a diffusion: its schedule, what is predicted, at which levels, and the loss. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from unstir.config import AboveZero, AtLeastZero, Number, Part, Steps

if TYPE_CHECKING:
    from torch import nn

    from unstir.diffusion import Denoiser, Schedule
    from unstir.diffusion.objective import Objective
    from unstir.diffusion.posterior import Variance
    from unstir.diffusion.times import Importance, TimeDistribution

Beta = Annotated[float, Number, Field(gt=0, lt=1)]

_BETAS = ("steps", "beta_start", "beta_end")
_SCHEDULE_OPTIONS: dict[str, tuple[str, ...]] = {
    "linear": _BETAS,
    "quadratic": _BETAS,
    "sigmoid": _BETAS,
    "cosine": ("steps", "s", "max_beta"),
    "vp": ("beta_min", "beta_max"),
    "ladder": ("steps", "sigma_min", "sigma_max"),
    "ve": ("sigma_min", "sigma_max"),
    "flow": (),
    "single": ("amount",),
}


class ScheduleConfig(Part):
    """A schedule of :mod:`unstir.diffusion.schedule` by name; None leaves a value at its default."""

    naming: ClassVar[str | None] = "name"

    name: Literal["linear", "quadratic", "cosine", "sigmoid", "ladder", "vp", "ve", "flow", "single"] = "cosine"
    steps: Steps | None = None
    beta_start: Beta | None = None
    beta_end: Beta | None = None
    beta_min: AtLeastZero | None = None
    beta_max: AboveZero | None = None
    sigma_min: AboveZero | None = None
    sigma_max: AboveZero | None = None
    s: AtLeastZero | None = None
    max_beta: Beta | None = None
    amount: AboveZero | None = None
    learned: bool = False
    """Whether the betas are learned with the network, by the bound; the schedule is where they start."""

    @model_validator(mode="after")
    def _options_fit(self) -> ScheduleConfig:
        takes = _SCHEDULE_OPTIONS[self.name]
        wrong = [option for option in self.options() if option not in takes]
        if wrong:
            raise ValueError(f"{self.name} takes no {wrong[0]}, only {', '.join(takes) or 'its name'}")
        if (self.sigma_min or 0.01) >= (self.sigma_max or 50.0):
            raise ValueError("sigma_min must lie below sigma_max")
        if self.name == "ladder" and self.steps == 1:
            raise ValueError("ladder needs at least 2 steps")
        if self.learned and (self.discrete_steps is None or self.name == "ladder"):
            raise ValueError(f"{self.name} has no betas that could be learned; linear and cosine have")
        return self

    def options(self) -> dict[str, float]:
        """Return the values that are set, as arguments of the schedule."""
        return self.model_dump(exclude={"name", "learned"}, exclude_none=True)

    @property
    def discrete_steps(self) -> int | None:
        """How many levels the schedule has, or None if its time is continuous."""
        return self.steps or 1000 if "steps" in _SCHEDULE_OPTIONS[self.name] else None

    def equals(self, other: ScheduleConfig) -> bool:
        """Whether both build the same schedule; one that is learned is its own model's alone."""
        if self.learned or other.learned:
            return False
        mine, theirs = ({**one.options(), "name": one.name, "steps": one.discrete_steps} for one in (self, other))
        return mine == theirs

    def build(self) -> Schedule:
        """Return the schedule; one that is learned is a module.

        Raises:
            InputError: If betas are to be learned and end in pure noise.
        """
        import torch

        from unstir.diffusion.schedule import DiscreteSchedule, LearnedSchedule, schedules

        with torch.device("cpu"):  # also where a model is only counted, on no device at all
            schedule = schedules[self.name](**self.options())
        if not self.learned:
            return schedule
        assert isinstance(schedule, DiscreteSchedule)
        return LearnedSchedule(schedule)


_ALPHA_IS_1 = ("ve", "ladder", "single")


class DiffusionConfig(Part):
    """What is predicted, at which levels, and how its error is weighted."""

    schedule: ScheduleConfig = ScheduleConfig()
    parameterization: Literal["eps", "x0", "v", "score", "mean", "karras", "dual"] = "eps"
    objective: Literal[
        "simple",
        "x0",
        "v",
        "min_snr",
        "p2",
        "karras",
        "score_matching",
        "variational",
        "bound",
        "hybrid",
        "dual",
    ] = "simple"
    variance: Literal["fixed", "learned"] = "fixed"
    """Whether the network tells the variance of the ancestral sampler's steps too."""
    times: Literal["uniform", "log_normal", "importance"] = "uniform"
    sigma_data: AboveZero = 0.5
    corruption: Literal["gaussian", "masking", "salt_and_pepper"] = "gaussian"
    """How images are corrupted, by ``schedule.amount``, for a denoising autoencoder (the schedule ``single``)."""

    @property
    def one_level(self) -> bool:
        """Whether this trains a denoising autoencoder, which cleans images and draws none."""
        return self.schedule.name == "single"

    @model_validator(mode="after")
    def _corruption_fits(self) -> DiffusionConfig:
        if self.corruption != "gaussian":
            kind = (self.schedule.name, self.parameterization, self.objective)
            if kind != ("single", "x0", "x0"):
                raise ValueError(
                    f"the corruption {self.corruption} needs the schedule single, and x0 as parameterization and "
                    "objective, as in the recipe mnist-dae"
                )
            if (self.schedule.amount or 0.5) > 1:
                raise ValueError(f"the schedule's amount is the share of pixels for {self.corruption}: at most 1")
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> DiffusionConfig:
        discrete, bounded = self.schedule.discrete_steps is not None, self.objective in ("bound", "hybrid")
        if not discrete and (bounded or self.objective == "variational"):
            raise ValueError(f"the objective {self.objective} needs a discrete schedule, such as linear")
        if not discrete and self.times == "importance":
            raise ValueError("the times importance need a discrete schedule, such as linear")
        if bounded and self.times == "log_normal":
            raise ValueError(f"the objective {self.objective} needs the times uniform or importance")
        if self.objective == "hybrid" and self.variance == "fixed":
            raise ValueError("the objective hybrid needs variance=learned")
        if self.variance == "learned" and not bounded:
            raise ValueError("variance=learned needs the objective hybrid or bound, which teach it")
        if self.schedule.learned and self.objective != "bound":
            raise ValueError("schedule.learned needs the objective bound, which teaches the betas")
        divided = (
            self.parameterization in ("eps", "score", "mean", "dual") and self.schedule.name not in _ALPHA_IS_1
        )
        if divided and self.objective in ("x0", "v", "karras"):
            raise ValueError(
                f"the objective {self.objective} does not train a network that predicts {self.parameterization}: "
                "its error is divided by alpha², next to nothing in much noise; take simple, min_snr or p2"
            )
        if self.objective == "dual" and self.parameterization != "dual":
            raise ValueError("the objective dual needs the parameterization dual")
        return self

    @property
    def outputs(self) -> int:
        """How many images' channels the network returns."""
        return (3 if self.parameterization == "dual" else 1) + (self.variance == "learned")

    def build(self, network: nn.Module, conditioner: nn.Module | None = None) -> Denoiser:
        """Return a network's denoiser, on a schedule of its own.

        Args:
            network: With ``outputs`` times the channels of its images.
            conditioner: What it is told goes through this, as in :class:`unstir.diffusion.Denoiser`.

        Raises:
            InputError: If the parameterization ``mean`` is on a continuous schedule.
        """
        from unstir.diffusion.denoiser import Denoiser
        from unstir.diffusion.parameterization import parameterization

        schedule = self.schedule.build()
        meaning = parameterization(self.parameterization, schedule, self.sigma_data)
        return Denoiser(network, meaning, schedule, conditioner, learned_variance=self.variance == "learned")

    def build_objective(self, schedule: Schedule, variance: Variance = "small") -> Objective:
        """Return the loss.

        Args:
            schedule: That of training: the denoiser's.
            variance: Of the model's steps in the bound, where the network does not tell it: the sampler's.
        """
        from unstir.diffusion.corruption import corruptions
        from unstir.diffusion.objective import SquaredError, objective

        if self.corruption != "gaussian":
            return SquaredError("x0", corrupt=corruptions[self.corruption])
        variance = "learned" if self.variance == "learned" else variance
        return objective(self.objective, schedule, variance, self.sigma_data)

    def build_times(self, schedule: Schedule) -> TimeDistribution | Importance:
        """Return what draws the times of training on ``schedule``; ``Importance`` is to be told the losses."""
        from unstir.diffusion.schedule import GridSchedule
        from unstir.diffusion.times import Importance, time_distributions

        if self.times != "importance":
            return time_distributions[self.times]
        assert isinstance(schedule, GridSchedule)
        return Importance(schedule.steps)
