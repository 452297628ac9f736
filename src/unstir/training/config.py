"""The configuration of a run: all that is needed to train it again, as checked values without torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from unstir.config import MOST_IMAGES, MOST_SECONDS, AboveZero, AtLeastZero, Fraction, Number, Part, Positive
from unstir.data.config import DataConfig
from unstir.models.config import AnyModel, Facts
from unstir.networks.told import AUGMENTATION, Told

Decay = Annotated[float, Number, Field(ge=0, lt=1)]


class TrainingConfig(Part):
    """The budget and the optimizer.

    Exactly one of ``images`` (how many images training sees, repeats counted) and ``seconds`` (of the clock on
    the wall, from the start of the command to its end) is set; the learning rate decays to fit it.
    """

    images: Annotated[int, Number, Field(gt=0, le=MOST_IMAGES)] | None = None
    seconds: Annotated[float, Number, Field(gt=0, le=MOST_SECONDS)] | None = None
    batch: Positive = 128
    optimizer: Literal["adamw", "muon"] = "adamw"
    """``muon`` is for the kernels of convolutions; the other parameters have AdamW then."""
    learning_rate: AboveZero = 2e-4
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """AdamW's decay of the gradient's mean and of its square's."""
    warmup: Annotated[int, Number, Field(ge=0, le=10**9)] = 200
    """Steps over which the learning rate rises from 0."""
    decay: Fraction = 0.3
    """The last part of the budget, over which the learning rate falls to 0."""
    weight_decay: AtLeastZero = 0.0
    clip: AboveZero = 1.0
    """The largest norm of the gradient."""
    ema: Fraction = 0.9999
    """The decay of the weights' average; earlier in training it spans the last tenth of the steps so far."""
    log_every: Positive = 20
    """Steps between two lines of the log."""

    @model_validator(mode="after")
    def _has_one_budget(self) -> TrainingConfig:
        if (self.images is None) == (self.seconds is None):
            raise ValueError("a run has a budget in images or in seconds, one of the two")
        return self

    @property
    def budget(self) -> dict[str, float]:
        """The budget: ``seconds`` or ``images``."""
        return {"seconds": self.seconds} if self.images is None else {"images": self.images}  # type: ignore[dict-item]

    def tiny(self) -> TrainingConfig:
        """Return a budget of four small steps."""
        return self.model_copy(update={"images": 32, "seconds": None, "batch": 8, "log_every": 2})


class Begun(Part):
    """What a run was begun with and keeps, since a machine measures otherwise from one day to the next.

    Attributes:
        gflops: What training was taken to reach, where the recipe chose by it.
        budget: What was asked for at first, ``seconds`` or ``images``, by which the recipe chose; {} for its own;
            None where it is not noted.
        arithmetic: The number format by kind of device, such as ``bf16`` on ``cpu``.
    """

    gflops: AboveZero | None = None
    budget: dict[str, AboveZero] | None = None
    arithmetic: dict[str, Literal["bf16", "fp16", "float32"]] = Field(default_factory=dict)


class Config(Part):
    """A run's whole configuration."""

    recipe: str
    note: str = ""
    """What the recipe chose, and from what."""
    seed: Annotated[int, Number, Field(ge=0, lt=2**63)] = 0
    data: DataConfig
    training: TrainingConfig
    model: AnyModel
    start: str = ""
    """A run or a model whose weights this one begins with; "" for fresh ones."""
    fingerprint: str = ""
    """Of the training images; filled in when training starts."""
    begun: Begun = Begun()
    """Filled in when training starts, but for what the recipe measured."""

    @model_validator(mode="after")
    def _can_be_told(self) -> Config:
        if self.data.augment and self.data.degradations:
            raise ValueError("data.augment would leave degraded pictures as they are: set one of the two alone")
        if self.data.augment and "predict" not in self.model.verbs:
            raise ValueError(
                f"data.augment is told to models that predict, and this is {self.model.about}: set it to 0"
            )
        return self

    def seeing(self, shape: tuple[int, ...], facts: Facts, fingerprint: str) -> Config:
        """Return the configuration with what the training data turned out to be.

        Of how images are altered the model is told without being asked to be: else it would learn them so.
        """
        told = {AUGMENTATION: Told(kind="numbers")} if AUGMENTATION in facts else {}
        model = self.model.model_copy(update={"told": {**told, **self.model.told}})
        return self.model_copy(update={"model": model.seeing(shape, facts), "fingerprint": fingerprint})

    def asked(self) -> dict[str, Any]:
        """Return plain values of all that was asked for, without what the data turned out to be."""
        return self.model_dump(
            mode="json", exclude={"fingerprint": True, "begun": True, "model": self.model.found_out}
        )

    def tiny(self) -> Config:
        """Return a version that trains in seconds and touches every part of the run."""
        return self.model_copy(update={"training": self.training.tiny(), "model": self.model.tiny()})
