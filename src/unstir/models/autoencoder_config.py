"""The codec of latent diffusion as checked values that build it. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from unstir.config import MOST_IMAGES, AtLeastZero, Number, Part
from unstir.models.config import Facts, ModelConfig, systems
from unstir.networks.autoencoder_config import (
    AnyRegularization,
    AutoencoderConfig,
    KLConfig,
    PatchDiscriminatorConfig,
)
from unstir.networks.perceptual_config import CLASSIFIER, PerceptualConfig

if TYPE_CHECKING:
    from unstir.models.model import Model


class AdversaryConfig(Part):
    """What tells reconstructions from images, and how much it is heard."""

    weight: AtLeastZero = 0.1
    """Beside the ratio of gradients at the decoder's last layer; 0 leaves the adversary out.

    The paper has 0.5, for trainings a thousand times as long as two CPU cores bear.
    """
    after: Annotated[int, Number, Field(ge=0, le=MOST_IMAGES)] = 0
    """How many images are seen before it begins."""
    discriminator: PatchDiscriminatorConfig = PatchDiscriminatorConfig()

    def tiny(self) -> AdversaryConfig:
        """Return a narrow one that begins early."""
        return self.model_copy(update={"after": min(16, self.after), "discriminator": self.discriminator.tiny()})


@systems.add
class CodecConfig(ModelConfig):
    """An autoencoder of images whose codes are maps, :class:`unstir.models.autoencoder.Autoencoder`."""

    about: ClassVar[str] = "a codec"
    verbs: ClassVar[tuple[str, ...]] = ("encode", "decode")

    kind: Literal["codec"] = "codec"
    network: AutoencoderConfig = AutoencoderConfig()
    regularization: AnyRegularization = KLConfig()
    perceptual: PerceptualConfig = PerceptualConfig()
    adversary: AdversaryConfig = AdversaryConfig()

    @model_validator(mode="after")
    def _told_nothing(self) -> CodecConfig:
        if self.told:
            raise ValueError(f"a codec is told nothing of its images: leave out {', '.join(self.told)}")
        return self

    @property
    def codes(self) -> tuple[int, int, int] | None:
        """(c, ceil(H / f), ceil(W / f)); None before the images have been seen."""
        if not self.samples.shape:
            return None
        _, height, width = self.samples.shape
        return self.network.latent, -(-height // self.network.factor), -(-width // self.network.factor)

    @property
    def needs(self) -> tuple[str, ...]:
        """A classifier, where its features are compared."""
        return (*super().needs, *((CLASSIFIER,) if self.perceptual.name == CLASSIFIER else ()))

    def seeing(self, shape: tuple[int, ...], facts: Facts) -> CodecConfig:
        """Return this configuration with the images' shape.

        Raises:
            InputError: If the perceptual network cannot see such images, or what is to be the classifier is none.
        """
        self.perceptual.check(shape[0])
        if CLASSIFIER in self.needs:
            for verb in ("classify", "embed"):  # which a classifier of noised images cannot both
                self._seer(CLASSIFIER, shape, verb)
        return super().seeing(shape, facts)

    def build(self, parts: Mapping[str, Model]) -> Model:  # noqa: D102
        from unstir.models.autoencoder import Autoencoder

        return Autoencoder(self, parts)

    def tiny(self) -> CodecConfig:  # noqa: D102
        parts = ("network", "regularization", "perceptual", "adversary")
        return self.model_copy(update={name: getattr(self, name).tiny() for name in parts})
