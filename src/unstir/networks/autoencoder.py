r"""The two halves of a codec (Esser et al. 2021, Rombach et al. 2022): images to maps of codes, and back.

.. math:: (C, H, W) \to (c, \lceil H / f \rceil, \lceil W / f \rceil), \qquad f = p\, 2^{L - 1}

for patches of p pixels a side and L levels. Squares of p x p pixels become channels; levels of residual blocks
halve the resolution; the coarsest level attends to itself. The decoder is the encoder backwards. Both are
convolutions throughout, so images of any height and width fit: they are padded to multiples of f.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.networks.blocks import Attention, Convolution, Norm, NormKind, zeroed
from unstir.networks.resize import doubled, pad_to

if TYPE_CHECKING:
    from unstir.networks.autoencoder_config import AutoencoderConfig


class Encoder(nn.Module):
    """Reads codes in images.

    Args:
        image_channels: C.
        outputs: Channels that are returned.
        config: How wide and deep it is.
    """

    def __init__(self, image_channels: int, outputs: int, config: AutoencoderConfig) -> None:
        super().__init__()
        self.patch, self.factor = config.patch, config.factor
        self.stem = Convolution(image_channels * config.patch**2, config.channels[0])
        layers: list[nn.Module] = []
        here = config.channels[0]
        for number, level in enumerate(config.channels):
            if number:
                layers.append(nn.Conv2d(here, here, 3, stride=2, padding=1))
            layers.append(_blocks([here] + [level] * config.blocks, config.norm))
            here = level
        self.levels = nn.Sequential(*layers, _middle(here, config))
        self.out_norm = Norm(config.norm, here)
        self.out = Convolution(here, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, ceil(H / f), ceil(W / f)), float32, for images ``x`` (B, C, H, W)."""
        h = functional.pixel_unshuffle(pad_to(x, self.factor), self.patch)
        h = self.levels(self.stem(h.contiguous(memory_format=torch.channels_last)))
        h, _ = self.out_norm(h, silu=True)
        return self.out(h).float()  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Makes images of codes.

    Args:
        image_channels: C.
        config: How wide and deep it is.

    Attributes:
        out: The last layer, by whose gradients an adversary is weighted.
    """

    def __init__(self, image_channels: int, config: AutoencoderConfig) -> None:
        super().__init__()
        self.patch = config.patch
        here = config.channels[-1]
        self.stem = Convolution(config.latent, here)
        layers: list[nn.Module] = [_middle(here, config)]
        for number, level in enumerate(reversed(config.channels)):
            if number:
                layers.append(_Up(here, level))
                here = level
            layers.append(_blocks([here] + [level] * (config.blocks + 1), config.norm))
        self.levels = nn.Sequential(*layers)
        self.out_norm = Norm(config.norm, here)
        self.out = Convolution(here, image_channels * config.patch**2)

    def forward(self, codes: Tensor) -> Tensor:
        """Return images (B, C, f h, f w), float32, for codes (B, c, h, w)."""
        h = self.levels(self.stem(codes.contiguous(memory_format=torch.channels_last)))
        h, _ = self.out_norm(h, silu=True)
        return functional.pixel_shuffle(self.out(h), self.patch).float()


class Block(nn.Module):
    """Norm, SiLU, convolution, twice, around which the input goes; it starts as its shortcut.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        kind: The norm.
    """

    def __init__(self, channels_in: int, channels_out: int, kind: NormKind) -> None:
        super().__init__()
        self.first_norm = Norm(kind, channels_in)
        self.first = Convolution(channels_in, channels_out)
        self.second_norm = Norm(kind, channels_out)
        self.second = zeroed(Convolution(channels_out, channels_out))
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels_out, H, W) for ``x`` (B, channels_in, H, W)."""
        h, x = self.first_norm(x, silu=True)
        h, _ = self.second_norm(self.first(h), silu=True)
        return self.shortcut(x) + self.second(h)  # type: ignore[no-any-return]


class _Up(nn.Module):
    """Double the resolution by repeating places, then convolve."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.convolution = Convolution(channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(doubled(x))  # type: ignore[no-any-return]


def _blocks(widths: Sequence[int], kind: NormKind) -> nn.Sequential:
    return nn.Sequential(*(Block(a, b, kind) for a, b in itertools.pairwise(widths)))


def _middle(channels: int, config: AutoencoderConfig) -> nn.Sequential:
    attention = [Attention(channels, kind=config.norm)] if config.attention else []
    return nn.Sequential(
        Block(channels, channels, config.norm), *attention, Block(channels, channels, config.norm)
    )
