"""The attention U-Net (Ho et al. 2020, in the common PyTorch form).

Levels halve the resolution. Each has residual blocks that are told the time and a vector, linear attention where
pixels are many and dot-product attention where they are few; skip links join the two sides. Where it is told
tokens, each attention is followed by one from the pixels to the tokens (Rombach et al. 2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.diffusion import Sockets
from unstir.networks.blocks import (
    Attention,
    Convolution,
    CrossAttention,
    LinearAttention,
    Norm,
    NormKind,
    ResidualBlock,
    zeroed,
)
from unstir.networks.embedding import Embedding
from unstir.networks.resize import doubled, pad_to


class UNet(nn.Module):
    """The attention U-Net.

    Args:
        image_channels: C of the images.
        channels: Channels of each level, finest first.
        blocks: Residual blocks on each level, on each side.
        attention: For each level ``none``, ``linear`` or ``full``; the middle always has full attention.
        patch: Pixels in a square of this side become channels before the first level, and back at the end:
            cheap where images are large or the processor likes wide, small layers.
        dropout: Probability of dropping an activation inside residual blocks.
        kind: The norm.
        outputs: How many images' channels are returned.
        image: Channels that the socket ``image`` joins to the input.
        tokens: Width of the tokens it is told; 0 for a network without that socket.
    """

    def __init__(
        self,
        image_channels: int,
        channels: Sequence[int] = (64, 128, 256, 512),
        blocks: int = 2,
        attention: Sequence[str] = ("linear", "linear", "linear", "linear"),
        patch: int = 1,
        dropout: float = 0.0,
        kind: NormKind = "group",
        outputs: int = 1,
        image: int = 0,
        tokens: int = 0,
    ) -> None:
        super().__init__()
        self.patch, self.tokens = patch, tokens
        self.stride = patch * 2 ** (len(channels) - 1)
        width = 4 * channels[0]
        self.embedding = Embedding(width)
        self.stem = Convolution((image_channels + image) * patch**2, channels[0])
        self.down, self.up = nn.ModuleList(), nn.ModuleList()

        def stage(channels_in: int, channels_out: int, attends: str) -> _Stage:
            block = ResidualBlock(channels_in, channels_out, width, dropout, kind)
            if attends == "none":
                return _Stage(block, nn.Identity())
            attention = {"linear": LinearAttention, "full": Attention}[attends](channels_out, kind=kind)
            return _Stage(block, attention, CrossAttention(channels_out, tokens, kind=kind) if tokens else None)

        skips, here = [channels[0]], channels[0]
        for index, (level, attends) in enumerate(zip(channels, attention, strict=True)):
            if index:
                self.down.append(_Down(here))
                skips.append(here)
            for _ in range(blocks):
                self.down.append(stage(here, level, attends))
                here = level
                skips.append(here)
        self.middle = nn.ModuleList([stage(here, here, "full"), stage(here, here, "none")])
        for index, (level, attends) in reversed(list(enumerate(zip(channels, attention, strict=True)))):
            for _ in range(blocks + 1):
                self.up.append(stage(here + skips.pop(), level, attends))
                here = level
            if index:
                self.up.append(_Up(here))
        self.out_norm = Norm(kind, here)
        self.out = zeroed(Convolution(here, outputs * image_channels * patch**2))

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets = Sockets()) -> Tensor:
        """Return (B, outputs * C, H, W) for images ``x`` (B, C, H, W).

        Raises:
            ValueError: If it is told tokens and has no socket for them, or is told none and has one.
        """
        tokens = sockets.tokens_of(self.tokens)
        height, width = x.shape[-2:]
        embedding = self.embedding(t, sockets.vector)
        h = functional.pixel_unshuffle(pad_to(sockets.with_image(x), self.stride), self.patch)
        h = self.stem(h.contiguous(memory_format=torch.channels_last))
        skips = [h]
        for stage in self.down:
            h = stage(h, embedding, tokens)
            skips.append(h)
        for stage in self.middle:
            h = stage(h, embedding, tokens)
        for stage in self.up:
            h = h if isinstance(stage, _Up) else torch.cat([h, skips.pop()], dim=1)
            h = stage(h, embedding, tokens)
        h, _ = self.out_norm(h, silu=True)
        return functional.pixel_shuffle(self.out(h), self.patch)[..., :height, :width]


class _Stage(nn.Module):
    """A residual block followed by attention to itself, then to the tokens."""

    def __init__(self, block: ResidualBlock, attention: nn.Module, cross: CrossAttention | None = None) -> None:
        super().__init__()
        self.block, self.attention, self.cross = block, attention, cross

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor | None) -> Tensor:
        x = self.attention(self.block(x, embedding))
        return x if self.cross is None else self.cross(x, tokens)


class _Down(nn.Module):
    """Halve the resolution by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor | None) -> Tensor:
        return self.convolution(x)


class _Up(nn.Module):
    """Double the resolution by repeating pixels, then convolve."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = Convolution(channels, channels)

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor | None) -> Tensor:
        return self.convolution(doubled(x))
