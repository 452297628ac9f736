"""The kinds of networks, as parts of a configuration; torch comes in where one is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeVar

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from unstir.config import Few, Fraction, Kinds, Number, Part, Width
from unstir.networks.told import Told

if TYPE_CHECKING:
    from torch import nn

    from unstir.networks.adm import ADMReader
    from unstir.networks.convolutional import Reader

Layout = TypeVar("Layout", bound="ADMLayout")
Multiplier = Annotated[float, Number, Field(gt=0, le=100)]
Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=16)]


class NetworkConfig(Part):
    """A kind of network."""

    naming: ClassVar[str | None] = "kind"

    kind: str
    sockets: ClassVar[tuple[str, ...]] = ("vector", "image")
    """What it can be told through."""
    any_size: ClassVar[bool] = True
    """Whether it takes images of any height and width."""

    @property
    def vector(self) -> int:
        """Width of its socket ``vector``."""
        raise NotImplementedError

    @property
    def tokens(self) -> int:
        """Width of its socket ``tokens``; 0 if it has none."""
        return 0

    def build(
        self, shape: tuple[int, int, int], outputs: int = 1, image: int = 0, tokens: bool = False
    ) -> nn.Module:
        """Return the network, with fresh weights.

        Args:
            shape: (C, H, W) of the images.
            outputs: How many images' channels are returned.
            image: Channels that the socket ``image`` joins to the input.
            tokens: Whether the network is told tokens.
        """
        raise NotImplementedError

    def check(self, told: Mapping[str, Told]) -> None:
        """See whether it can be told all this.

        Raises:
            ValueError: If a part enters a socket that the network has not.
        """
        for name, part in told.items():
            if part.enters not in self.sockets:
                others = " or ".join(self.sockets)
                raise ValueError(
                    f"{name} enters the socket {part.enters}, which the network {self.kind} has not: "
                    f"set its socket to {others}, or network.kind=unet"
                )


networks: Kinds[NetworkConfig] = Kinds("network")

AnyNetwork = Annotated[SerializeAsAny[NetworkConfig], BeforeValidator(networks.read)]
"""The type of a field that holds a network of any kind."""


@networks.add
class UNetConfig(NetworkConfig):
    """The attention U-Net, :class:`unstir.networks.unet.UNet`."""

    kind: Literal["unet"] = "unet"
    sockets: ClassVar[tuple[str, ...]] = ("vector", "tokens", "image")
    channels: Widths = (64, 128, 256, 512)
    blocks: Few = 2
    attention: tuple[Literal["none", "linear", "full"], ...] = ("linear", "linear", "linear", "linear")
    patch: Few = 1
    dropout: Fraction = 0.0
    norm: Literal["group", "layer"] = "group"

    @model_validator(mode="after")
    def _levels_agree(self) -> UNetConfig:
        if len(self.attention) != len(self.channels):
            raise ValueError(f"attention names {len(self.attention)} levels and channels {len(self.channels)}")
        return self

    @property
    def vector(self) -> int:
        """Width of the time embedding."""
        return 4 * self.channels[0]

    @property
    def tokens(self) -> int:
        """As wide as the time embedding."""
        return 4 * self.channels[0]

    def build(
        self, shape: tuple[int, int, int], outputs: int = 1, image: int = 0, tokens: bool = False
    ) -> nn.Module:
        """Return the network."""
        from unstir.networks.unet import UNet

        return UNet(
            shape[0],
            channels=self.channels,
            blocks=self.blocks,
            attention=self.attention,
            patch=self.patch,
            dropout=self.dropout,
            kind=self.norm,
            outputs=outputs,
            image=image,
            tokens=self.tokens if tokens else 0,
        )

    def tiny(self) -> UNetConfig:
        """Return a narrow one, with one block on each level."""
        return self.model_copy(update={"channels": narrow(self.channels), "blocks": 1})


@networks.add
class PlainUNetConfig(NetworkConfig):
    """The tutorials' U-Net, :class:`unstir.networks.plain_unet.PlainUNet`."""

    kind: Literal["plain"] = "plain"
    channels: Widths = (64, 128, 256, 512, 1024)
    embedding: Annotated[Width, Field(multiple_of=2)] = 32

    @property
    def vector(self) -> int:
        """Width of the time embedding."""
        return self.embedding

    def build(
        self, shape: tuple[int, int, int], outputs: int = 1, image: int = 0, tokens: bool = False
    ) -> nn.Module:
        """Return the network, which has no socket ``tokens``."""
        from unstir.networks.plain_unet import PlainUNet

        assert not tokens
        return PlainUNet(shape[0], self.channels, self.embedding, outputs, image)

    def tiny(self) -> PlainUNetConfig:
        """Return a narrow one."""
        return self.model_copy(update={"channels": narrow(self.channels)})


@networks.add
class FullyConnectedConfig(NetworkConfig):
    """The fully connected U-Net, :class:`unstir.networks.fully_connected.FullyConnectedUNet`."""

    kind: Literal["fully_connected"] = "fully_connected"
    any_size: ClassVar[bool] = False
    widths: Widths = (2048, 1024, 512)
    time: bool = True
    norm: bool = True

    @property
    def vector(self) -> int:
        """How many elements beside the pixels tell it a vector."""
        return 32

    def build(
        self, shape: tuple[int, int, int], outputs: int = 1, image: int = 0, tokens: bool = False
    ) -> nn.Module:
        """Return the network, which has no socket ``tokens``."""
        from unstir.networks.fully_connected import FullyConnectedUNet

        assert not tokens
        return FullyConnectedUNet(shape, self.widths, self.vector, self.time, self.norm, outputs, image)

    def tiny(self) -> FullyConnectedConfig:
        """Return a narrow one."""
        return self.model_copy(update={"widths": narrow(self.widths)})


@networks.add
class RefineNetConfig(NetworkConfig):
    """The score network, :class:`unstir.networks.refinenet.RefineNet`."""

    kind: Literal["refinenet"] = "refinenet"
    channels: Widths = (128, 256, 256, 256)
    blocks: Few = 2
    patch: Few = 1

    @property
    def vector(self) -> int:
        """Width of the time embedding."""
        return 2 * self.channels[0]

    def build(
        self, shape: tuple[int, int, int], outputs: int = 1, image: int = 0, tokens: bool = False
    ) -> nn.Module:
        """Return the network, which has no socket ``tokens``."""
        from unstir.networks.refinenet import RefineNet

        assert not tokens
        return RefineNet(shape[0], self.channels, self.blocks, self.patch, outputs, image)

    def tiny(self) -> RefineNetConfig:
        """Return a narrow one, with one block on each level."""
        return self.model_copy(update={"channels": narrow(self.channels), "blocks": 1})


class ADMLayout(Part):
    """What the ADM U-Net and its half that reads are made by."""

    channels: Width = 64
    """The network's width; its embedding is four times as wide."""
    multipliers: Annotated[tuple[Multiplier, ...], Field(min_length=1, max_length=16)] = (1, 2, 3, 4)
    """Each level has so many times that width, finest first."""
    blocks: Few = 2
    """Residual blocks on each level on the way down; one more on the way up."""
    attention: tuple[bool, ...] = (False, True, True, True)
    """For each level whether attention follows its blocks; the middle always has it."""
    head: Width = 64
    """Channels of one head of attention."""
    heads: Few | None = None
    """How many heads there are, whatever their channels; None: as ``head`` says."""
    dropout: Fraction = 0.0
    rescale: bool = False
    """Whether the sum of an input and what a block or an attention adds to it is divided by sqrt(2)."""

    @model_validator(mode="after")
    def _levels_agree(self: Layout) -> Layout:
        if len(self.attention) != len(self.multipliers):
            named = f"attention names {len(self.attention)} levels"
            raise ValueError(f"{named} and multipliers {len(self.multipliers)}")
        for width in self.levels:
            if self.heads and width % self.heads:
                raise ValueError(f"{width} channels cannot be divided among {self.heads} heads")
        return self

    @property
    def levels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(max(1, round(self.channels * multiplier)) for multiplier in self.multipliers)

    @property
    def embedding(self) -> int:
        """Width of the embedding."""
        return 4 * self.channels

    @property
    def stride(self) -> int:
        """To whose multiples images are padded."""
        return 2 ** (len(self.multipliers) - 1)

    def head_of(self, channels: int) -> int:
        """Return the channels of one head on a level of so many."""
        return max(1, channels // self.heads) if self.heads else self.head

    def tiny(self: Layout) -> Layout:
        """Return a narrow one, with one block on each level."""
        return self.model_copy(update={"channels": max(8, self.channels // 32), "blocks": 1})


@networks.add
class ADMConfig(ADMLayout, NetworkConfig):
    """The ADM U-Net, :class:`unstir.networks.adm.ADM`."""

    kind: Literal["adm"] = "adm"
    sockets: ClassVar[tuple[str, ...]] = ("vector", "tokens", "image")

    @property
    def vector(self) -> int:
        """Width of the time embedding."""
        return self.embedding

    @property
    def tokens(self) -> int:
        """As wide as the time embedding."""
        return self.embedding

    def build(
        self, shape: tuple[int, int, int], outputs: int = 1, image: int = 0, tokens: bool = False
    ) -> nn.Module:
        """Return the network."""
        from unstir.networks.adm import ADM

        return ADM(shape[0], self, outputs, image, self.tokens if tokens else 0)


class ADMReaderConfig(ADMLayout):
    """What reads a vector in a noised image, :class:`unstir.networks.adm.ADMReader`."""

    features: Width = 256

    def build(self, shape: tuple[int, int, int]) -> ADMReader:
        """Return the network, with fresh weights, for images of ``shape`` (C, H, W)."""
        from unstir.networks.adm import ADMReader

        return ADMReader(shape, self, self.features)

    def tiny(self) -> ADMReaderConfig:
        """Return a narrow one, with one block on each level."""
        return super().tiny().model_copy(update={"features": 16})


def adm_preset(size: Literal[64, 128, 256, 512]) -> ADMConfig:
    """Return the network of Dhariwal and Nichol 2021 for ImageNet at ``size`` pixels a side.

    All attend at 32, 16 and 8 pixels a side.
    """
    if size == 64:
        return ADMConfig(channels=192, blocks=3, dropout=0.1)
    multipliers: dict[int, tuple[float, ...]] = {
        128: (1, 1, 2, 3, 4),
        256: (1, 1, 2, 2, 4, 4),
        512: (0.5, 1, 1, 2, 2, 4, 4),
    }
    levels = multipliers[size]
    attention = tuple(number >= len(levels) - 3 for number in range(len(levels)))
    return ADMConfig(channels=256, multipliers=levels, attention=attention, heads=4 if size == 128 else None)


@networks.add
class TransformerConfig(NetworkConfig):
    """The transformer over patches, :class:`unstir.networks.transformer.Transformer`."""

    kind: Literal["transformer"] = "transformer"
    sockets: ClassVar[tuple[str, ...]] = ("vector", "tokens", "image")
    width: Annotated[Width, Field(multiple_of=4)] = 384
    depth: Few = 12
    heads: Few = 6
    patch: Few = 2
    dropout: Fraction = 0.0

    @model_validator(mode="after")
    def _heads_fit(self) -> TransformerConfig:
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be divided among {self.heads} heads")
        return self

    @property
    def vector(self) -> int:
        """Width of the time embedding."""
        return self.width

    @property
    def tokens(self) -> int:
        """As wide as the positions."""
        return self.width

    def build(
        self, shape: tuple[int, int, int], outputs: int = 1, image: int = 0, tokens: bool = False
    ) -> nn.Module:
        """Return the network."""
        from unstir.networks.transformer import Transformer

        width = self.tokens if tokens else 0
        return Transformer(
            shape[0], self.width, self.depth, self.heads, self.patch, self.dropout, outputs, image, width
        )

    def tiny(self) -> TransformerConfig:
        """Return a narrow one of two blocks and two heads."""
        return self.model_copy(update={"width": 24, "depth": 2, "heads": 2})


class GeneratorConfig(Part):
    """What draws an image from a latent vector, :class:`unstir.networks.convolutional.Generator`."""

    channels: Widths = (32, 96, 192)
    blocks: Few = 1
    patch: Few = 2
    embedding: Width = 128
    norm: Literal["group", "layer"] = "layer"

    def build(self, shape: tuple[int, int, int], latent: int, bounded: bool) -> nn.Module:
        """Return the network, with fresh weights.

        Args:
            shape: (C, H, W) of the images.
            latent: Width of the latent vector.
            bounded: Whether the images lie in [-1, 1].
        """
        from unstir.networks.convolutional import Generator

        return Generator(shape, latent, self.channels, self.blocks, self.patch, self.embedding, self.norm, bounded)

    def tiny(self) -> GeneratorConfig:
        """Return a narrow one, with one block on each level."""
        return self.model_copy(update={"channels": narrow(self.channels), "blocks": 1, "embedding": 16})


class ReaderConfig(Part):
    """What reads a vector in an image, :class:`unstir.networks.convolutional.Reader`."""

    channels: Widths = (32, 96, 192)
    blocks: Few = 1
    patch: Few = 2
    features: Width = 128

    def build(self, shape: tuple[int, int, int]) -> Reader:
        """Return the network, with fresh weights, for images of ``shape`` (C, H, W)."""
        from unstir.networks.convolutional import Reader

        return Reader(shape, self.channels, self.blocks, self.patch, self.features)

    def tiny(self) -> ReaderConfig:
        """Return a narrow one, with one block on each level."""
        return self.model_copy(update={"channels": narrow(self.channels), "blocks": 1, "features": 16})


def narrow(widths: tuple[int, ...]) -> tuple[int, ...]:
    """Return the widths of a tiny network."""
    return tuple(max(8, width // 16) for width in widths)
