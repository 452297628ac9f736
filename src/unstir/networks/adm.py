r"""The ADM U-Net (Dhariwal and Nichol 2021), and half of it, which reads an image.

Against the U-Net of DDPM it has more levels; attends on several levels, by heads of few channels each;
halves and doubles the resolution inside of residual blocks, as BigGAN does (Brock et al. 2019); and tells the time
and the class to each block by an adaptive group norm,

.. math:: \mathrm{AdaGN}(h, y) = y_s \, \mathrm{GroupNorm}(h) + y_b,

with :math:`y = (y_s, y_b)` linear in the embedding. Where it is told tokens, each attention is followed by one
from the pixels to the tokens (Rombach et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from unstir.diffusion import Sockets
from unstir.kernels.attention import attention
from unstir.networks.blocks import Attention, Convolution, CrossAttention, Norm, ResidualBlock, heads_of, zeroed
from unstir.networks.config import ADMLayout
from unstir.networks.embedding import Embedding
from unstir.networks.resize import doubled, halved, pad_to


class _Stage(nn.Module):
    """A residual block followed by attention to itself, then to the tokens, each where there is one."""

    def __init__(self, parts: Iterable[nn.Module], rescale: bool) -> None:
        super().__init__()
        self.parts, self.rescale = nn.ModuleList(parts), rescale

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor | None) -> Tensor:
        for part, told in zip(self.parts, ((embedding,), (), (tokens,)), strict=False):
            x = part(x, *told)
            if self.rescale:
                x = x * 2**-0.5
        return x


class _Resizing(_Stage):
    """A residual block inside of which, and around which, the resolution changes."""


def _stage(layout: ADMLayout, channels_in: int, channels_out: int, attends: bool, tokens: int) -> _Stage:
    parts: list[nn.Module] = [ResidualBlock(channels_in, channels_out, layout.embedding, layout.dropout)]
    if attends:
        head = layout.head_of(channels_out)
        parts.append(Attention(channels_out, head))
        parts += [CrossAttention(channels_out, tokens, head)] if tokens else []
    return _Stage(parts, layout.rescale)


def _resizing(layout: ADMLayout, channels: int, resize: Callable[[Tensor], Tensor]) -> _Resizing:
    block = ResidualBlock(channels, channels, layout.embedding, layout.dropout, resize=resize)
    return _Resizing([block], layout.rescale)


class _Descent(nn.Module):
    """The half that goes down, and the middle.

    Attributes:
        widths: Channels of what each stage leaves for the way up, the stem first.
    """

    def __init__(self, channels_in: int, layout: ADMLayout, tokens: int) -> None:
        super().__init__()
        here = layout.levels[0]
        self.stem = Convolution(channels_in, here)
        self.down, self.widths = nn.ModuleList(), [here]
        for number, (level, attends) in enumerate(zip(layout.levels, layout.attention, strict=True)):
            if number:
                self.down.append(_resizing(layout, here, halved))
                self.widths.append(here)
            for _ in range(layout.blocks):
                self.down.append(_stage(layout, here, level, attends, tokens))
                here = level
                self.widths.append(here)
        self.middle = nn.ModuleList(_stage(layout, here, here, attends, tokens) for attends in (True, False))

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor | None = None) -> list[Tensor]:
        """Return what each stage leaves for the way up, the stem first, and last what comes from the middle."""
        left = [self.stem(x.contiguous(memory_format=torch.channels_last))]
        for stage in self.down:
            left.append(stage(left[-1], embedding, tokens))
        h = left[-1]
        for stage in self.middle:
            h = stage(h, embedding, tokens)
        return [*left, h]


class ADM(nn.Module):
    """The ADM U-Net.

    Args:
        image_channels: C of the images.
        layout: What it is made by.
        outputs: How many images' channels are returned.
        image: Channels that the socket ``image`` joins to the input.
        tokens: Width of the tokens it is told; 0 for a network without that socket.
    """

    def __init__(
        self, image_channels: int, layout: ADMLayout, outputs: int = 1, image: int = 0, tokens: int = 0
    ) -> None:
        super().__init__()
        self.stride, self.tokens = layout.stride, tokens
        self.embedding = Embedding(layout.embedding)
        self.descent = _Descent(image_channels + image, layout, tokens)
        self.up = nn.ModuleList()
        joins, here = list(self.descent.widths), self.descent.widths[-1]
        for number, level in reversed(list(enumerate(layout.levels))):
            for _ in range(layout.blocks + 1):
                self.up.append(_stage(layout, here + joins.pop(), level, layout.attention[number], tokens))
                here = level
            if number:
                self.up.append(_resizing(layout, here, doubled))
        self.out_norm = Norm("group", here)
        self.out = zeroed(Convolution(here, outputs * image_channels))

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets = Sockets()) -> Tensor:
        """Return (B, outputs * C, H, W) for images ``x`` (B, C, H, W).

        Raises:
            ValueError: If it is told tokens and has no socket for them, or is told none and has one.
        """
        height, width = x.shape[-2:]
        tokens = sockets.tokens_of(self.tokens)
        embedding = self.embedding(t, sockets.vector)
        *left, h = self.descent(pad_to(sockets.with_image(x), self.stride), embedding, tokens)
        for stage in self.up:
            h = h if isinstance(stage, _Resizing) else torch.cat([h, left.pop()], dim=1)
            h = stage(h, embedding, tokens)
        h, _ = self.out_norm(h, silu=True)
        return self.out(h)[..., :height, :width]


class ADMReader(nn.Module):
    """The ADM U-Net's way down and middle, then attention pooling: the body of ADM's classifier of noised images.

    Args:
        shape: (C, H, W) of the images.
        layout: What it is made by.
        features: Width of the features.
    """

    def __init__(self, shape: tuple[int, int, int], layout: ADMLayout, features: int) -> None:
        super().__init__()
        self.stride, self.features = layout.stride, features
        self.embedding = Embedding(layout.embedding)
        self.descent = _Descent(shape[0], layout, 0)
        channels = self.descent.widths[-1]
        self.out_norm = Norm("group", channels)
        positions = -(-shape[1] // self.stride) * -(-shape[2] // self.stride)
        self.pool = AttentionPooling(channels, positions, features, layout.head_of(channels))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return features (B, F) of images ``x`` (B, C, H, W) that are noised to the times ``t`` (B,)."""
        h = self.descent(pad_to(x, self.stride), self.embedding(t))[-1]
        h, _ = self.out_norm(h, silu=True)
        return self.pool(h)


class AttentionPooling(nn.Module):
    """One vector of all positions, by attention whose one query is their mean (Radford et al. 2021, section 2.4).

    Positions have learned codes, and so has the mean, which is attended to as well.

    Args:
        channels: Of each position.
        positions: How many there are.
        features: Width of the result.
        head: Channels of one head, or somewhat more where they do not divide evenly.
    """

    def __init__(self, channels: int, positions: int, features: int, head: int = 64) -> None:
        super().__init__()
        self.heads = heads_of(channels, head)
        self.positions = nn.Parameter(torch.randn(1 + positions, channels) * channels**-0.5)
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, features)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, features) for ``x`` (B, C, H, W)."""
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
        pixels = torch.cat([pixels.mean(1, keepdim=True), pixels], dim=1) + self.positions.to(x.dtype)
        batch, count, channels = pixels.shape
        q = self.q(pixels[:, :1]).view(batch, 1, self.heads, -1).transpose(1, 2)
        k, v = self.kv(pixels).view(batch, count, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.out(attention(q, k, v).reshape(batch, channels))
