"""The parts of the attention U-Net: norms, residual blocks, attention to the pixels and to tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.kernels.attention import attention
from unstir.kernels.convolution import convolution
from unstir.kernels.norm import norm

NormKind = Literal["group", "layer"]


class Norm(nn.Module):
    """A norm over groups of channels (Wu and He 2018), or over the channels of each pixel, with what follows it.

    Args:
        kind: ``group``: at most 32 groups of at least 4 channels; or ``layer``: each pixel by itself.
        channels: How many channels there are.
    """

    def __init__(self, kind: NormKind, channels: int) -> None:
        super().__init__()
        most = min(32, max(1, channels // 4))
        self.groups = next(g for g in range(most, 0, -1) if channels % g == 0) if kind == "group" else 0
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(
        self, x: Tensor, modulation: Tensor | None = None, silu: bool = False, dropout: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Normalize ``x`` (B, C, H, W); scale and shift it by ``modulation`` (B, 2 C); then SiLU, then dropout.

        Returns:
            The result, and ``x`` for a link around the norm.
        """
        gain, shift = self.weight, self.bias
        if modulation is not None:
            scale, offset = modulation.float().chunk(2, dim=1)
            gain, shift = gain * (1 + scale), torch.addcmul(offset, shift, 1 + scale)
        return norm(x, gain, shift, self.groups, silu=silu, dropout=dropout)


class Convolution(nn.Conv2d):
    """A 3x3 convolution, padded by zeros to keep height and width.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels_out, H, W) for ``x`` (B, channels_in, H, W)."""
        return convolution(x, self.weight, self.bias)


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, with the embedding's scale and shift between (Dhariwal and Nichol 2021).

    The last convolution starts at zero, so that the block starts as its shortcut.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        embedding: Width of the embedding.
        dropout: Probability of dropping an activation before the second convolution.
        kind: The norm.
        resize: Changes the height and width before the first convolution, and of what goes around, as BigGAN's
            blocks do (Brock et al. 2019).
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        embedding: int,
        dropout: float = 0.0,
        kind: NormKind = "group",
        resize: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.resize = resize
        self.first_norm = Norm(kind, channels_in)
        self.first = Convolution(channels_in, channels_out)
        self.modulation = nn.Linear(embedding, 2 * channels_out)
        self.second_norm = Norm(kind, channels_out)
        self.dropout = dropout
        self.second = zeroed(Convolution(channels_out, channels_out))
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return (B, channels_out, H, W) for ``x`` (B, channels_in, H, W) and the embedding (B, E)."""
        h, x = self.first_norm(x, silu=True)
        if self.resize is not None:
            h, x = self.resize(h), self.resize(x)
        modulation = self.modulation(functional.silu(embedding))
        dropout = self.dropout if self.training else 0.0
        h, _ = self.second_norm(self.first(h), modulation, silu=True, dropout=dropout)
        return self.shortcut(x) + self.second(h)


class Attention(nn.Module):
    """Dot-product attention over all pixels (Vaswani et al. 2017), as a residual branch.

    Args:
        channels: Channels in and out.
        head: Channels of one head, or somewhat more where they do not divide evenly.
        kind: The norm.
    """

    def __init__(self, channels: int, head: int = 64, kind: NormKind = "group") -> None:
        super().__init__()
        self.heads = heads_of(channels, head)
        self.norm = Norm(kind, channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) for ``x`` of the same shape."""
        batch, channels, height, width = x.shape
        h, x = self.norm(x)
        tokens = h.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        parts = self.qkv(tokens).reshape(batch, height * width, 3, self.heads, channels // self.heads)
        mixed = self.mix(*parts.permute(2, 0, 3, 1, 4)).transpose(1, 2).reshape(tokens.shape)
        return x + self.out(mixed).reshape(batch, height, width, channels).permute(0, 3, 1, 2)

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return ``softmax(q k^T / sqrt(d)) v``, each (B, heads, pixels, d)."""
        return attention(q, k, v)


class LinearAttention(Attention):
    """Attention whose cost grows with the pixels, not with their square (Shen et al. 2021).

    Queries are normalized over channels and keys over pixels, so that ``q (k^T v)`` is a weighted mean of
    values that never forms the matrix of pixel pairs.
    """

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return ``softmax_d(q) (softmax_pixels(k)^T v)``, each (B, heads, pixels, d)."""
        return q.softmax(dim=-1) @ (k.softmax(dim=-2).transpose(-1, -2) @ v)


class CrossAttention(nn.Module):
    """Dot-product attention from the pixels to tokens, as a residual branch (Rombach et al. 2022).

    Queries are of the pixels; keys and values are of the tokens.

    Args:
        channels: Channels in and out.
        tokens: Width of the tokens.
        head: Channels of one head, or somewhat more where they do not divide evenly.
        kind: The norm.
    """

    def __init__(self, channels: int, tokens: int, head: int = 64, kind: NormKind = "group") -> None:
        super().__init__()
        self.heads = heads_of(channels, head)
        self.norm = Norm(kind, channels)
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(tokens, 2 * channels)
        self.out = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Return (B, C, H, W) for ``x`` of the same shape and tokens (B, L, W)."""
        batch, channels, height, width = x.shape
        h, x = self.norm(x)
        split = (self.heads, channels // self.heads)
        pixels = h.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        q = self.q(pixels).reshape(batch, height * width, *split).transpose(1, 2)
        k, v = self.kv(tokens).reshape(batch, tokens.shape[1], 2, *split).permute(2, 0, 3, 1, 4)
        mixed = attention(q, k, v).transpose(1, 2).reshape(pixels.shape)
        return x + self.out(mixed).reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def heads_of(channels: int, head: int) -> int:
    """Return how many heads of about ``head`` channels divide the channels evenly."""
    return next(heads for heads in range(max(1, channels // head), 0, -1) if channels % heads == 0)


def zeroed(layer: nn.Module) -> nn.Module:
    """Return the layer with its parameters set to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
