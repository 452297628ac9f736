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


class RefineNetConfig(Part):
    """The score network, :class:`unstir.networks.refinenet.RefineNet`."""

    kind: Literal["refinenet"]
    channels: Widths = (128, 256, 256, 256)
    blocks: Positive = 2
    patch: Positive = 1


NetworkConfig = Annotated[
    UNetConfig | PlainUNetConfig | FullyConnectedConfig | RefineNetConfig, Field(discriminator="kind")
]


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

    name: Literal["linear", "quadratic", "cosine", "sigmoid", "ladder", "vp", "ve", "flow", "single"] = "cosine"
    steps: Positive | None = None
    beta_start: Beta | None = None
    beta_end: Beta | None = None
    beta_min: Annotated[float, Field(gt=0)] | None = None
    beta_max: Annotated[float, Field(gt=0)] | None = None
    sigma_min: Annotated[float, Field(gt=0)] | None = None
    sigma_max: Annotated[float, Field(gt=0)] | None = None
    s: Annotated[float, Field(gt=0)] | None = None
    max_beta: Beta | None = None
    amount: Annotated[float, Field(gt=0)] | None = None
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
        return None if self.name in ("vp", "ve", "flow", "single") else self.steps or 1000


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
    sigma_data: Annotated[float, Field(gt=0)] = 0.5
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
    """How often an image's label is hidden, by which the network learns to do without it; guidance needs that."""
    log_every: Positive = 20
    """Steps between two lines of the log."""

    @model_validator(mode="after")
    def _has_one_budget(self) -> TrainingConfig:
        if (self.images is None) == (self.seconds is None):
            raise ValueError("a run has a budget in images or in seconds, one of the two")
        return self


_CHURN = ("churn", "churn_min", "churn_max", "churn_noise")
SAMPLER_OPTIONS: dict[str, tuple[str, ...]] = {
    "ddpm": ("variance",),
    "ddim": ("eta",),
    "euler": _CHURN,
    "heun": _CHURN,
    "unipc": ("order",),
    "langevin": ("epsilon", "updates"),
    "pc": ("predictor", "snr", "updates"),
}
"""The sampling values that belong to some samplers only."""


class SamplingConfig(Part):
    """How the run's pictures are drawn unless the user says otherwise."""

    sampler: Literal[
        "ddpm", "ddim", "euler", "heun", "dpm++2m", "dpm++3m", "dpm++sde", "unipc", "plms", "langevin", "pc"
    ] = "ddim"
    steps: Positive = 50
    spacing: Literal["trailing", "leading", "linspace", "quadratic", "uniform", "log_snr", "karras"] = "trailing"
    eta: Fraction = 0.0
    variance: Literal["small", "large", "learned"] = "small"
    order: Literal[2, 3] = 3
    churn: Annotated[float, Field(ge=0)] = 0.0
    """Karras's S_churn: how much fresh noise, in all steps together."""
    churn_min: Annotated[float, Field(ge=0)] = 0.0
    churn_max: Annotated[float, Field(ge=0)] | None = None
    """The range of sigma / alpha in which there is churn."""
    churn_noise: Annotated[float, Field(ge=0)] = 1.0
    schedule: Literal["linear", "quadratic", "cosine", "sigmoid", "vp", "ve", "flow"] | None = None
    """The schedule to sample on, with its default values; None is the trained one."""
    epsilon: Annotated[float, Field(gt=0, lt=4)] | None = None
    """langevin's step in units of the smallest variance; None: by the ratio of the levels."""
    updates: Positive | None = None
    """How many Langevin updates langevin and pc make on each level; None: 5 and 1."""
    snr: Annotated[float, Field(gt=0)] = 0.16
    """pc's drift over its noise."""
    predictor: Literal["reverse", "ancestral"] = "reverse"
    guidance: Annotated[float, Field(ge=0)] = 0.0
    clip: Literal["static", "dynamic", "none"] = "static"

    @model_validator(mode="after")
    def _range_is_one(self) -> SamplingConfig:
        if self.churn_max is not None and self.churn_min > self.churn_max:
            raise ValueError(f"churn_min, {self.churn_min:g}, lies above churn_max, {self.churn_max:g}")
        return self

    @property
    def evaluations(self) -> int:
        """How often the network is asked for each image, with at least 2 steps."""
        if self.sampler == "langevin":
            return self.steps * (self.updates or 5) + 1
        if self.sampler == "pc":
            return (self.steps - 1) * (1 + (self.updates or 1)) + 1
        if self.sampler == "heun":
            return 2 * self.steps - 1
        if self.sampler == "plms":
            return self.steps + 1
        return self.steps


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
    training: TrainingConfig
    sampling: SamplingConfig = SamplingConfig()
    images: ImagesInfo | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes the network is told; empty for an unconditional run."""
        return self.images.classes if self.images and self.conditional else ()
