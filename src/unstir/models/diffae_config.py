"""The systems of the diffusion autoencoder: itself, and what reads classes in its codes. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from unstir.models.config import CODEC, Facts, Precision, systems
from unstir.models.systems import DenoiserConfig, ReadsLabels
from unstir.networks.config import ReaderConfig
from unstir.networks.told import Told
from unstir.sampling.config import SamplingConfig

if TYPE_CHECKING:
    from unstir.models.model import Model

DIRECTIONS = "directions"
"""The part of a denoiser of codes that reads classes in them, by which ``unstir edit manipulate`` goes."""


@systems.add
class DiffusionAutoencoderConfig(DenoiserConfig):
    """A diffusion autoencoder, :class:`unstir.models.diffae.DiffusionAutoencoder`."""

    about: ClassVar[str] = "a diffusion autoencoder"  # type: ignore[misc]
    verbs: ClassVar[tuple[str, ...]] = ("encode", "decode", "invert", "morph")  # type: ignore[misc]

    kind: Literal["diffae"] = "diffae"  # type: ignore[assignment]
    told: dict[str, Told] = Field({"z_sem": Told(kind="embedding")})
    encoder: ReaderConfig = ReaderConfig(features=32)
    """What reads z_sem; its features are the L numbers of z_sem."""
    sampling: SamplingConfig = SamplingConfig(steps=20)

    @model_validator(mode="after")
    def _told_its_own(self) -> DiffusionAutoencoderConfig:
        if {*self.told} != {"z_sem"} or self.told["z_sem"].enters != "vector" or self.told["z_sem"].dropout:
            raise ValueError(
                "a diffusion autoencoder is told z_sem alone, as an embedding that is never hidden: leave told out"
            )
        if self.diffusion.one_level:
            raise ValueError("a diffusion autoencoder needs a schedule of many levels, not the schedule single")
        return self

    @property
    def latent(self) -> int:
        """L, how many numbers z_sem is."""
        return self.encoder.features

    @property
    def codes(self) -> tuple[int, int, int]:
        """The shape of its codes: as of samples, of which each channel is a number."""
        return (self.latent, 1, 1)

    @property
    def takes(self) -> tuple[str, ...]:
        """None: it is a codec itself."""
        return ()

    @property
    def reads(self) -> tuple[str, ...]:
        """None of the data's columns: what it is told it reads in the images."""
        return ()

    def seeing(self, shape: tuple[int, ...], facts: Facts) -> DiffusionAutoencoderConfig:
        """Return this configuration with what the data turned out to be, and the width of z_sem."""
        own = {"z_sem": {"kind": "embedding", "width": self.latent}}
        return super().seeing(shape, own)  # type: ignore[return-value]

    def build(self, parts: Mapping[str, Model]) -> Model:  # noqa: D102
        from unstir.models.diffae import DiffusionAutoencoder

        return DiffusionAutoencoder(self, parts)

    def tiny(self) -> DiffusionAutoencoderConfig:  # noqa: D102
        return super().tiny().model_copy(update={"encoder": self.encoder.tiny()})  # type: ignore[return-value]


@systems.add
class LinearReaderConfig(ReadsLabels):
    """A linear classifier of a codec's codes, :class:`unstir.models.linear_reader.LinearReader`."""

    about: ClassVar[str] = "a linear classifier of codes"
    verbs: ClassVar[tuple[str, ...]] = ("classify",)

    kind: Literal["linear_reader"] = "linear_reader"
    precision: Precision = "float32"

    @property
    def needs(self) -> tuple[str, ...]:
        """The codec whose codes it reads."""
        return (CODEC, *super().needs)

    @property
    def code(self) -> tuple[int, int, int]:
        """The shape of a code."""
        codec = self.parts[CODEC].model
        assert codec is not None and codec.codes is not None  # as seen
        return codec.codes

    def seeing(self, shape: tuple[int, ...], facts: Facts) -> LinearReaderConfig:
        """Return this configuration with what the data turned out to be; see :class:`ReadsLabels`.

        Raises:
            InputError: Also if the part ``codec`` cannot be one for such images.
        """
        self._codes_of(shape)
        return super().seeing(shape, facts)

    def build(self, parts: Mapping[str, Model]) -> Model:  # noqa: D102
        from unstir.models.linear_reader import LinearReader

        return LinearReader(self, parts)
