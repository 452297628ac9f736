"""The systems: what each is made of, as checked values that build it. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import Field, model_validator

from unstir.config import LARGEST, AtLeastZero, Width
from unstir.diffusion.config import DiffusionConfig, ScheduleConfig
from unstir.errors import InputError
from unstir.models.config import CODEC, Facts, ModelConfig, systems
from unstir.networks.config import ADMReaderConfig, AnyNetwork, GeneratorConfig, ReaderConfig, UNetConfig
from unstir.networks.told import DEGRADED, TASK
from unstir.sampling.config import SamplingConfig

if TYPE_CHECKING:
    from unstir.models.model import Model

Reads = TypeVar("Reads", bound="ReadsLabels")

OF_BYTES = ("bound", "hybrid", "variational")
"""The objectives whose last term is the likelihood of 8-bit pixels."""


@systems.add
class DenoiserConfig(ModelConfig):
    """A diffusion model, score network or denoising autoencoder, :class:`unstir.models.denoiser.DenoiserModel`."""

    kind: Literal["denoiser"] = "denoiser"
    network: AnyNetwork = UNetConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    sampling: SamplingConfig = SamplingConfig()
    """How it is drawn from by default."""

    @model_validator(mode="after")
    def _told_fits(self) -> DenoiserConfig:
        self.network.check(self.told)
        if {DEGRADED, TASK} <= self.told.keys() and self.diffusion.objective == "dual":
            raise ValueError("the objective dual counts known pixels: with degraded pictures choose another")
        return self

    @property
    def about(self) -> str:  # type: ignore[override]
        """What it is, for messages."""
        if self.diffusion.one_level:
            return "a denoising autoencoder, trained at one level of noise,"
        return "a diffusion model"

    @property
    def verbs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Cleaning, and unless it knows one level alone all that needs the others."""
        if self.diffusion.one_level:
            return ("clean",)
        if {DEGRADED, TASK} <= self.told.keys():  # of known pixels its network has learned nothing
            return ("draw", "edit")
        if CODEC in self.parts:  # of pixels, noised or known, a model of codes knows nothing
            return ("draw", "invert", "predict")
        return ("draw", "clean", "invert", "inpaint", "predict")

    @property
    def found_out(self) -> dict[str, Any]:  # noqa: D102
        return {**super().found_out, **({"samples": True} if CODEC in self.parts else {})}

    @property
    def takes(self) -> tuple[str, ...]:
        """A codec, beside what it needs: then it learns that one's codes of images."""
        return (*self.needs, CODEC)

    def seeing(self, shape: tuple[int, ...], facts: Facts) -> DenoiserConfig:
        """Return this configuration with what the data turned out to be; see :class:`ModelConfig`.

        Of a model with a codec the samples are the codes of the data's images.

        Raises:
            InputError: As of :class:`ModelConfig`, or if the part ``codec`` cannot be one for such images and for
                what is learned of them.
        """
        seen = super().seeing(shape, facts)
        if CODEC not in self.parts:
            return seen
        codes = self._codes_of(shape)
        if self.diffusion.one_level or self.diffusion.objective in OF_BYTES or {DEGRADED, TASK} & seen.told.keys():
            raise InputError(
                "A model with a codec learns codes, not pixels: leave degraded pictures, the schedule single and "
                f"the objectives {', '.join(OF_BYTES)} out"
            )
        for name, one in seen.told.items():
            if one.of is not None:
                raise InputError(
                    f"A model with a codec does not see images, from which the part '{one.of}' makes the {name}: "
                    f"leave told.{name} out"
                )
        samples = seen.samples.model_copy(update={"shape": codes, "bounded": False})
        return seen.model_copy(update={"samples": samples})

    def build(self, parts: Mapping[str, Model]) -> Model:  # noqa: D102
        from unstir.models.denoiser import DenoiserModel

        return DenoiserModel(self, parts)

    def tiny(self) -> DenoiserConfig:  # noqa: D102
        return self.model_copy(update={"network": self.network.tiny(), "sampling": self.sampling.tiny()})

    def drawing(
        self,
        options: Mapping[str, object],
        classifier: ModelConfig | None = None,
        weaker: ModelConfig | None = None,
    ) -> SamplingConfig:
        """Return how to draw; see :class:`unstir.models.config.ModelConfig`.

        Raises:
            InputError: For a wrong option, more steps than the schedule has, a learned variance that there is not,
                guidance of a model that is told nothing or was never without what it is told, a classifier or a
                weaker model that does not fit, or guidance of 0 with a weaker model.
        """
        result = self.sampling.with_options(options)
        if not self.samples.bounded:
            if options.get("clip") not in (None, "none"):
                raise InputError("What this model draws has no bounds to be clipped to: leave clip out")
            result = result.model_copy(update={"clip": "none"})
        schedule = ScheduleConfig(name=result.schedule) if result.schedule else self.diffusion.schedule
        limit = schedule.discrete_steps
        if limit is not None and result.steps > limit:
            owner = f"{result.schedule} schedule" if result.schedule else "model's schedule"
            raise InputError(f"{result.steps} steps were asked for, and the {owner} has {limit}")
        if result.sampler.reverse_variance == "learned" and self.diffusion.variance == "fixed":
            raise InputError("The variance 'learned' needs a model trained with diffusion.variance=learned")
        if classifier is not None:
            classifier.check_guides(self)
        if weaker is not None:
            self._check_weaker(weaker)
            if result.guidance == 0:
                raise InputError("Guidance by a weaker model needs a guidance above 0, such as 1")
            return result
        if options.get("guidance") and not self.told:
            raise InputError("Guidance needs a model that was trained with labels, and this one was not")
        parts = [self.told["label"]] if "label" in self.told else [*self.told.values()]
        if result.guidance and parts and not any(one.dropout for one in parts):
            self.hideable("Guidance above 0")
        return result

    def _check_weaker(self, weaker: ModelConfig) -> None:
        """Check that another model predicts what this one does, told the same, at the same levels.

        Raises:
            InputError: If it does not.
        """
        weaker.require("predict")
        assert isinstance(weaker, DenoiserConfig)
        if self.samples != weaker.samples or _codec(self) != _codec(weaker):
            raise InputError("The weaker model draws other samples than the model, and cannot guide it")
        if _is_told(self) != _is_told(weaker):
            raise InputError(
                "The weaker model must be told the same, with the same classes: it is told "
                f"{', '.join(weaker.told) or 'nothing'}, and the model {', '.join(self.told) or 'nothing'}"
            )
        mine, its = self.diffusion.schedule, weaker.diffusion.schedule
        if not mine.equals(its):
            raise InputError(
                f"The weaker model was trained on another schedule ({_named(its)}) than the model ({_named(mine)})"
            )

    def check_sigma(self, sigma: float | None) -> None:
        """Check that a model is told how noisy its images are, or as a denoising autoencoder is not.

        Raises:
            InputError: If not.
        """
        if self.diffusion.one_level and sigma is not None:
            raise InputError(
                f"This model is {self.about} and knows one corruption alone ({self.diffusion.corruption}): "
                "leave sigma out"
            )
        if not self.diffusion.one_level and (sigma is None or not 0 < sigma <= LARGEST):
            raise InputError(
                "This model knows many levels of noise: say how noisy the image is, such as --sigma 25"
            )

    def check_task(self, task: str, masked: bool) -> None:
        """Check that a model restores pictures of a task, and that a mask comes with it where one has to.

        Raises:
            InputError: If not.
        """
        self.require("edit")
        known = self.told["task"].classes
        if task not in known:
            raise InputError(f"This model was not trained for {task}: its tasks are {', '.join(known)}")
        if masked != (task in ("inpainting", "uncropping")):
            raise InputError(f"The task {task} takes no mask" if masked else f"The task {task} needs a mask")

    def check_takes(self, shape: tuple[int, ...]) -> None:
        """Check that the model can take images of ``shape`` (C, H, W): its own, or where its network can any size.

        Raises:
            InputError: If it cannot.
        """
        channels, height, width = self.samples.shape
        if shape[0] != channels:
            raise InputError(f"The model's images have {channels} channels, and this one has {shape[0]}")
        kind = self.network.kind.replace("_", " ")
        if not self.network.any_size and shape[1:] != (height, width):
            raise InputError(
                f"The image is {shape[2]} pixels wide and {shape[1]} high, and this {kind} network "
                f"takes {width} by {height} alone"
            )


class ReadsLabels(ModelConfig):
    """A model that reads images as one of the classes of its data."""

    labels: tuple[str, ...] = ()
    """The names of the classes; empty before the data has been seen."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that it reads."""
        return self.labels

    @property
    def found_out(self) -> dict[str, Any]:  # noqa: D102
        return {**super().found_out, "labels": True}

    @property
    def reads(self) -> tuple[str, ...]:  # noqa: D102
        return ("label", *super().reads)

    def seeing(self: Reads, shape: tuple[int, ...], facts: Facts) -> Reads:  # noqa: D102
        labels = tuple(facts.get("label", {}).get("classes", ()))  # type: ignore[arg-type]
        if len(labels) < 2:
            raise InputError(f"A classifier needs images of two classes or more, and these have {len(labels)}")
        return super().seeing(shape, facts).model_copy(update={"labels": labels})


@systems.add
class ClassifierConfig(ReadsLabels):
    """A classifier of clean images, the ruler for samples: :class:`unstir.models.classifier.Classifier`."""

    about: ClassVar[str] = "a classifier of clean images"
    verbs: ClassVar[tuple[str, ...]] = ("classify", "embed")

    features: ClassVar[int] = 64
    """Enough to tell classes apart, and few enough for 1,000 samples to give a well-conditioned covariance."""

    kind: Literal["classifier"] = "classifier"

    def build(self, parts: Mapping[str, Model]) -> Model:  # noqa: D102
        from unstir.models.classifier import Classifier

        return Classifier(self, parts)

    def check_guides(self, model: ModelConfig) -> None:
        """Refuse: what is guided is noised."""
        raise InputError(
            "This classifier has seen clean images alone, and those that it is to guide are noised: train one of "
            "noised images, such as by the recipe mnist-classifier"
        )


@systems.add
class NoisyClassifierConfig(ReadsLabels):
    """A classifier of noised images, :class:`unstir.models.noisy_classifier.NoisyClassifier`."""

    about: ClassVar[str] = "a classifier of noised images"
    verbs: ClassVar[tuple[str, ...]] = ("classify", "guide")

    kind: Literal["noisy_classifier"] = "noisy_classifier"
    network: ADMReaderConfig = ADMReaderConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    @model_validator(mode="after")
    def _has_many_levels(self) -> NoisyClassifierConfig:
        if self.schedule.learned or self.schedule.name == "single":
            raise ValueError("a classifier of noised images needs a schedule of many levels that is not learned")
        return self

    def build(self, parts: Mapping[str, Model]) -> Model:  # noqa: D102
        from unstir.models.noisy_classifier import NoisyClassifier

        return NoisyClassifier(self, parts)

    def tiny(self) -> NoisyClassifierConfig:  # noqa: D102
        return self.model_copy(update={"network": self.network.tiny()})

    def check_guides(self, model: ModelConfig) -> None:
        """Check that it was trained on what the model draws, on its schedule.

        Raises:
            InputError: If not.
        """
        model.require("predict")
        assert isinstance(model, DenoiserConfig)
        if self.samples.shape != model.samples.shape:
            ours, theirs = ("x".join(map(str, each.samples.shape)) for each in (self, model))
            raise InputError(f"The classifier reads images of {ours}, and the model draws them of {theirs}")
        if model.classes and self.labels != model.classes:
            raise InputError("The classifier is of another data set: its classes are not those of the model")
        if not self.schedule.equals(model.diffusion.schedule):
            raise InputError(
                f"The classifier was trained on another schedule ({_named(self.schedule)}) than the model "
                f"({_named(model.diffusion.schedule)}): train it with --set schedule as the model's"
            )


def _codec(config: ModelConfig) -> str:
    """Return the hash of the part that makes images of samples; "" for images themselves."""
    return config.parts[CODEC].hash if CODEC in config.parts else ""


def _is_told(config: ModelConfig) -> dict[str, tuple[object, ...]]:
    """Return what each value that a model is told may be."""
    return {
        name: (one.kind, one.classes, one.width, one.hash, one.kind == "text" and one.enters)
        for name, one in config.told.items()
    }


def _named(schedule: ScheduleConfig) -> str:
    """Return what a schedule is called, with the values that are set."""
    values = "".join(f", {name} {value:g}" for name, value in schedule.options().items())
    return f"{'learned, from ' if schedule.learned else ''}{schedule.name}{values}"


@systems.add
class SceneReaderConfig(ModelConfig):
    """A reader of what lies at the places of a picture, :class:`unstir.models.scene_reader.SceneReader`."""

    about: ClassVar[str] = "a reader of scenes"
    verbs: ClassVar[tuple[str, ...]] = ("read",)

    features: ClassVar[int] = 128

    kind: Literal["scene_reader"] = "scene_reader"
    places: dict[str, tuple[float, float]] = Field({})
    """The centres of the places by name, (x, y) in sides of the picture from its upper left corner."""
    questions: dict[str, tuple[str, ...]] = Field({})
    """By question its answers; the first one's first is that nothing is there."""
    whole: tuple[str, ...] = ()
    """The answers to what is asked about the picture as a whole."""

    @property
    def reads(self) -> tuple[str, ...]:  # noqa: D102
        return ("answers", *super().reads)

    def build(self, parts: Mapping[str, Model]) -> Model:  # noqa: D102
        from unstir.models.scene_reader import SceneReader

        return SceneReader(self, parts)


class LatentConfig(ModelConfig):
    """A model that draws at once, from a latent vector; what it is told enters as vectors."""

    latent: Width = 64
    """Width of the latent vector."""

    @model_validator(mode="after")
    def _told_as_vectors(self) -> LatentConfig:
        for name, part in self.told.items():
            if part.enters != "vector":
                instead = {"picture": "leave it out", "text": "set its socket to vector"}
                raise ValueError(
                    f"{name} enters the socket {part.enters}, and {self.about} is told through the socket vector "
                    f"alone: {instead.get(part.kind, 'leave its socket out')}"
                )
        return self


@systems.add
class VAEConfig(LatentConfig):
    """A variational autoencoder, :class:`unstir.models.vae.VAE`."""

    about: ClassVar[str] = "a variational autoencoder"
    verbs: ClassVar[tuple[str, ...]] = ("draw", "encode", "decode")

    kind: Literal["vae"] = "vae"
    encoder: ReaderConfig = ReaderConfig()
    decoder: GeneratorConfig = GeneratorConfig()

    def build(self, parts: Mapping[str, Model]) -> Model:  # noqa: D102
        from unstir.models.vae import VAE

        return VAE(self, parts)

    def tiny(self) -> VAEConfig:  # noqa: D102
        return self.model_copy(
            update={"latent": 4, "encoder": self.encoder.tiny(), "decoder": self.decoder.tiny()}
        )


@systems.add
class GANConfig(LatentConfig):
    """A generative adversarial network, :class:`unstir.models.gan.GAN`."""

    about: ClassVar[str] = "a GAN"
    verbs: ClassVar[tuple[str, ...]] = ("draw",)

    kind: Literal["gan"] = "gan"
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: ReaderConfig = ReaderConfig()
    r1: AtLeastZero = 1.0
    """gamma, the weight of the discriminator's squared gradient at real images; 0 leaves it out."""

    def build(self, parts: Mapping[str, Model]) -> Model:  # noqa: D102
        from unstir.models.gan import GAN

        return GAN(self, parts)

    def tiny(self) -> GANConfig:  # noqa: D102
        update = {"generator": self.generator.tiny(), "discriminator": self.discriminator.tiny()}
        return self.model_copy(update={"latent": 4, **update})
