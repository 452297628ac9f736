"""The systems: what each is made of, as checked values that build it. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from unstir.config import LARGEST, AtLeastZero, Width
from unstir.diffusion.config import DiffusionConfig, ScheduleConfig
from unstir.errors import InputError
from unstir.models.config import Facts, ModelConfig, systems
from unstir.networks.config import AnyNetwork, GeneratorConfig, ReaderConfig, UNetConfig
from unstir.sampling.config import SamplingConfig

if TYPE_CHECKING:
    from unstir.models.model import Model


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
        return ("clean",) if self.diffusion.one_level else ("draw", "clean", "invert", "inpaint", "predict")

    def build(self, parts: Mapping[str, Model]) -> Model:  # noqa: D102
        from unstir.models.denoiser import DenoiserModel

        return DenoiserModel(self, parts)

    def tiny(self) -> DenoiserConfig:  # noqa: D102
        return self.model_copy(update={"network": self.network.tiny(), "sampling": self.sampling.tiny()})

    def drawing(self, options: Mapping[str, object]) -> SamplingConfig:
        """Return how to draw; see :class:`unstir.models.config.ModelConfig`.

        Raises:
            InputError: For a wrong option, more steps than the schedule has, a learned variance that there is not,
                guidance of a model that is told nothing or was never without what it is told.
        """
        result = self.sampling.with_options(options)
        schedule = ScheduleConfig(name=result.schedule) if result.schedule else self.diffusion.schedule
        limit = schedule.discrete_steps
        if limit is not None and result.steps > limit:
            owner = f"{result.schedule} schedule" if result.schedule else "model's schedule"
            raise InputError(f"{result.steps} steps were asked for, and the {owner} has {limit}")
        if result.sampler.reverse_variance == "learned" and self.diffusion.variance == "fixed":
            raise InputError("The variance 'learned' needs a model trained with diffusion.variance=learned")
        if options.get("guidance") and not self.told:
            raise InputError("Guidance needs a model that was trained with labels, and this one was not")
        parts = [self.told["label"]] if "label" in self.told else [*self.told.values()]
        if result.guidance and parts and not any(one.dropout for one in parts):
            self.hideable("Guidance above 0")
        return result

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


@systems.add
class ClassifierConfig(ModelConfig):
    """A classifier of clean images, the ruler for samples: :class:`unstir.models.classifier.Classifier`."""

    about: ClassVar[str] = "a classifier of clean images"
    verbs: ClassVar[tuple[str, ...]] = ("classify", "embed")

    features: ClassVar[int] = 64
    """Enough to tell classes apart, and few enough for 1,000 samples to give a well-conditioned covariance."""

    kind: Literal["classifier"] = "classifier"
    labels: tuple[str, ...] = ()
    """The names of the classes; empty before the data has been seen."""

    @property
    def found_out(self) -> dict[str, Any]:  # noqa: D102
        return {**super().found_out, "labels": True}

    @property
    def reads(self) -> tuple[str, ...]:  # noqa: D102
        return ("label", *super().reads)

    def build(self, parts: Mapping[str, Model]) -> Model:  # noqa: D102
        from unstir.models.classifier import Classifier

        return Classifier(self, parts)

    def seeing(self, shape: tuple[int, ...], facts: Facts) -> ClassifierConfig:  # noqa: D102
        labels = tuple(facts.get("label", {}).get("classes", ()))  # type: ignore[arg-type]
        if len(labels) < 2:
            raise InputError(f"A classifier needs images of two classes or more, and these have {len(labels)}")
        return super().seeing(shape, facts).model_copy(update={"labels": labels})


class LatentConfig(ModelConfig):
    """A model that draws at once, from a latent vector; what it is told enters as vectors."""

    latent: Width = 64
    """Width of the latent vector."""

    @model_validator(mode="after")
    def _told_as_vectors(self) -> LatentConfig:
        for name, part in self.told.items():
            if part.enters != "vector":
                raise ValueError(
                    f"{name} enters the socket {part.enters}, and {self.about} is told through the socket vector "
                    f"alone: " + ("leave it out" if part.kind == "picture" else "leave its socket out")
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
