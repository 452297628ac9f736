"""The configuration of a run: all that is needed to train it again, as checked values without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from unstir.data.config import DataConfig

Positive = Annotated[int, Field(gt=0)]
Beta = Annotated[float, Field(gt=0, lt=1)]
Widths = Annotated[tuple[Positive, ...], Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel, extra="forbid", frozen=True, allow_inf_nan=False):
    """A part of a configuration: unknown keys and infinite values are refused, and values do not change."""


class UNetConfig(Part):
    """The attention U-Net, :class:`unstir.networks.unet.UNet`."""

    kind: Literal["unet"] = "unet"
    channels: Widths = (64, 128, 256, 512)
    blocks: Positive = 2
    attention: tuple[Literal["none", "linear", "full"], ...] = ("linear", "linear", "linear", "linear")
    patch: Positive = 1
    dropout: Fraction = 0.0
    norm: Literal["group", "layer"] = "group"

    @model_validator(mode="after")
    def _levels_agree(self) -> UNetConfig:
        if len(self.attention) != len(self.channels):
            raise ValueError(f"attention names {len(self.attention)} levels and channels {len(self.channels)}")
        return self


class PlainUNetConfig(Part):
    """The tutorials' U-Net, :class:`unstir.networks.plain_unet.PlainUNet`."""

    kind: Literal["plain"]
    channels: Widths = (64, 128, 256, 512, 1024)
    embedding: Annotated[int, Field(gt=0, multiple_of=2)] = 32


class FullyConnectedConfig(Part):
    """The fully connected U-Net, :class:`unstir.networks.fully_connected.FullyConnectedUNet`."""

    kind: Literal["fully_connected"]
    widths: Widths = (2048, 1024, 512)
    time: bool = True
    norm: bool = True


NetworkConfig = Annotated[UNetConfig | PlainUNetConfig | FullyConnectedConfig, Field(discriminator="kind")]


_BETAS = ("steps", "beta_start", "beta_end")
_SCHEDULE_OPTIONS: dict[str, tuple[str, ...]] = {
    "linear": _BETAS,
    "quadratic": _BETAS,
    "sigmoid": _BETAS,
    "cosine": ("steps", "s", "max_beta"),
    "vp": ("beta_min", "beta_max"),
    "ve": ("sigma_min", "sigma_max"),
    "flow": (),
}


class ScheduleConfig(Part):
    """A schedule of :mod:`unstir.diffusion.schedule` by name; None leaves a value at its default."""

    name: Literal["linear", "quadratic", "cosine", "sigmoid", "vp", "ve", "flow"] = "cosine"
    steps: Positive | None = None
    beta_start: Beta | None = None
    beta_end: Beta | None = None
    beta_min: Annotated[float, Field(gt=0)] | None = None
    beta_max: Annotated[float, Field(gt=0)] | None = None
    sigma_min: Annotated[float, Field(gt=0)] | None = None
    sigma_max: Annotated[float, Field(gt=0)] | None = None
    s: Annotated[float, Field(gt=0)] | None = None
    max_beta: Beta | None = None
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
        if self.learned and self.discrete_steps is None:
            raise ValueError(f"{self.name} has no betas that could be learned; linear and cosine have")
        return self

    def options(self) -> dict[str, float]:
        """Return the values that are set, as arguments of the schedule."""
        return self.model_dump(exclude={"name", "learned"}, exclude_none=True)

    @property
    def discrete_steps(self) -> int | None:
        """How many levels the schedule has, or None if its time is continuous."""
        return None if self.name in ("vp", "ve", "flow") else self.steps or 1000


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
    sigma_data: Annotated[float, Field(gt=0)] = 0.5

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
        if self.objective == "dual" and self.parameterization != "dual":
            raise ValueError("the objective dual needs the parameterization dual")
        return self

    @property
    def outputs(self) -> int:
        """How many images' channels the network returns."""
        return (3 if self.parameterization == "dual" else 1) + (self.variance == "learned")


class TrainingConfig(Part):
    """The budget and the optimizer.

    Exactly one of ``images`` (how many images training sees, repeats counted) and ``seconds`` (of the clock on
    the wall, from the start of the command to its end) is set; the learning rate decays to fit it.
    """

    images: Positive | None = None
    seconds: Annotated[float, Field(gt=0)] | None = None
    batch: Positive = 128
    optimizer: Literal["adamw", "muon"] = "adamw"
    """``muon`` is for the kernels of convolutions; the other parameters have AdamW then."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    warmup: Annotated[int, Field(ge=0)] = 200
    """Steps over which the learning rate rises from 0."""
    decay: Fraction = 0.3
    """The last part of the budget, over which the learning rate falls to 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Annotated[float, Field(gt=0)] = 1.0
    """The largest norm of the gradient."""
    ema: Fraction = 0.9999
    """The decay of the weights' average; earlier in training it spans the last tenth of the steps so far."""
    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    label_dropout: Fraction = 0.1
    """How often an image's label is hidden, for classifier-free guidance."""
    log_every: Positive = 20
    """Steps between two lines of the log."""


class SamplingConfig(Part):
    """How the run's pictures are drawn unless the user says otherwise."""

    sampler: Literal["ddpm", "ddim"] = "ddim"
    steps: Positive = 50
    spacing: Literal["trailing", "leading", "linspace", "quadratic", "uniform", "log_snr", "karras"] = "trailing"
    eta: Fraction = 0.0
    variance: Literal["small", "large", "learned"] = "small"
    guidance: Annotated[float, Field(ge=0)] = 0.0
    clip: Literal["static", "dynamic", "none"] = "static"


class ImagesInfo(Part):
    """What the data turned out to be: filled in when training starts."""

    shape: tuple[int, int, int]
    classes: tuple[str, ...] = ()
    fingerprint: str


class Config(Part):
    """A run's whole configuration."""

    recipe: str
    note: str = ""
    """What the recipe chose, and from what."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    data: DataConfig
    conditional: bool = True
    """Whether the network is told the labels, where the data has them."""
    network: NetworkConfig = UNetConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    training: TrainingConfig = TrainingConfig()
    sampling: SamplingConfig = SamplingConfig()
    images: ImagesInfo | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes the network is told; empty for an unconditional run."""
        return self.images.classes if self.images and self.conditional else ()
