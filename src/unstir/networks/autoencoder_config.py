"""What a codec is made of, as parts of a configuration; torch comes in where one is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from unstir.config import AtLeastZero, Few, Kinds, Number, Part, Width
from unstir.networks.config import Widths, narrow

if TYPE_CHECKING:
    from unstir.networks.autoencoder import Decoder, Encoder
    from unstir.networks.patches import PatchDiscriminator
    from unstir.networks.regularization import Regularization


class AutoencoderConfig(Part):
    """Both halves, :class:`unstir.networks.autoencoder.Encoder` and ``Decoder``: mirror images of each other."""

    channels: Widths = (64, 128)
    """Of each level, from fine to coarse; each halves the resolution of the finer one."""
    blocks: Few = 1
    """Residual blocks on each level of the encoder; the decoder, which has to invent, has one more."""
    patch: Few = 2
    """The finest level sees patches of so many pixels a side."""
    latent: Width = 4
    """Channels of the codes."""
    attention: bool = True
    """Whether the coarsest level attends to itself."""
    norm: Literal["group", "layer"] = "layer"

    @property
    def factor(self) -> int:
        """How many pixels a side become one place of the codes: f."""
        return int(self.patch * 2 ** (len(self.channels) - 1))

    def encoder(self, image_channels: int, outputs: int) -> Encoder:
        """Return the encoder, with fresh weights, that returns so many channels."""
        from unstir.networks.autoencoder import Encoder

        return Encoder(image_channels, outputs, self)

    def decoder(self, image_channels: int) -> Decoder:
        """Return the decoder, with fresh weights."""
        from unstir.networks.autoencoder import Decoder

        return Decoder(image_channels, self)

    def tiny(self) -> AutoencoderConfig:
        """Return a narrow one, with one block on each level."""
        return self.model_copy(update={"channels": narrow(self.channels), "blocks": 1})


class RegularizationConfig(Part):
    """What keeps codes from growing without end and from being too fine, for what learns to draw them."""

    naming: ClassVar[str | None] = "kind"

    kind: str

    def outputs(self, latent: int) -> int:
        """Return how many channels of the encoder make a code of ``latent``."""
        return latent

    def build(self, latent: int, size: int) -> Regularization:
        """Return it.

        Args:
            latent: Channels of the codes.
            size: How many numbers an image has.
        """
        raise NotImplementedError


regularizations: Kinds[RegularizationConfig] = Kinds("regularization")

AnyRegularization = Annotated[SerializeAsAny[RegularizationConfig], BeforeValidator(regularizations.read)]
"""The type of a field that holds one of any kind."""


@regularizations.add
class KLConfig(RegularizationConfig):
    """Codes are drawn, and drawn towards N(0, I): :class:`unstir.networks.regularization.KL`."""

    kind: Literal["kl"] = "kl"
    weight: AtLeastZero = 1e-6
    """Of the divergence in nats for each number of an image, beside its mean absolute error: the paper's."""

    def outputs(self, latent: int) -> int:
        """Return the channels of a mean and a log variance."""
        return 2 * latent

    def build(self, latent: int, size: int) -> Regularization:
        """Return it; it has nothing to learn."""
        from unstir.networks.regularization import KL

        return KL(self.weight, size)


@regularizations.add
class VQConfig(RegularizationConfig):
    """The decoder sees the nearest of finitely many codes: :class:`unstir.networks.regularization.VQ`."""

    kind: Literal["vq"] = "vq"
    codes: Annotated[int, Number, Field(ge=2, le=2**20)] = 1024
    """How many there are."""
    beta: AtLeastZero = 0.25
    """The weight of the encoder's commitment to the nearest code."""

    def build(self, latent: int, size: int) -> Regularization:
        """Return it, with a fresh codebook."""
        from unstir.networks.regularization import VQ

        return VQ(latent, self.codes, self.beta)

    def tiny(self) -> VQConfig:
        """Return a small codebook."""
        return self.model_copy(update={"codes": min(16, self.codes)})


class PatchDiscriminatorConfig(Part):
    """What tells patches of images apart, :class:`unstir.networks.patches.PatchDiscriminator`."""

    channels: Widths = (64, 128)
    """Of each level, from fine to coarse; each halves the resolution of the finer one."""
    patch: Few = 2
    """The finest level sees patches of so many pixels a side."""

    def build(self, image_channels: int) -> PatchDiscriminator:
        """Return the network, with fresh weights."""
        from unstir.networks.patches import PatchDiscriminator

        return PatchDiscriminator(image_channels, self.channels, self.patch)

    def tiny(self) -> PatchDiscriminatorConfig:
        """Return a narrow one."""
        return self.model_copy(update={"channels": narrow(self.channels)})
