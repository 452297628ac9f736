"""Tells patches of real images from those of made ones: the adversary of a codec (Isola et al. 2017).

It is a few convolutions that halve the resolution, with a logit at each place: whether the patch there looks real.
What the image as a whole shows is not the codec's to invent.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.networks.blocks import Norm
from unstir.networks.convolutional import SLOPE
from unstir.networks.resize import pad_to


class PatchDiscriminator(nn.Module):
    """Says of each patch of an image how real it looks.

    Args:
        image_channels: C of the images.
        channels: Of each level, from fine to coarse.
        patch: The finest level sees patches of so many pixels a side.
    """

    def __init__(self, image_channels: int, channels: Sequence[int] = (64, 128), patch: int = 2) -> None:
        super().__init__()
        self.patch, self.stride = patch, patch * 2 ** (len(channels) - 1)
        self.stem = nn.Conv2d(image_channels * patch**2, channels[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, padding=1, bias=False) for a, b in itertools.pairwise(channels)
        )
        self.norms = nn.ModuleList(Norm("group", width) for width in channels[1:])
        self.out = nn.Conv2d(channels[-1], 1, 3, padding=1)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, places), float32, for images ``x`` (B, C, H, W)."""
        h = functional.pixel_unshuffle(pad_to(x, self.stride), self.patch)
        h = functional.leaky_relu(self.stem(h.contiguous(memory_format=torch.channels_last)), SLOPE)
        for convolution, norm in zip(self.down, self.norms, strict=True):
            h, _ = norm(convolution(h))
            h = functional.leaky_relu(h, SLOPE)
        return self.out(h).flatten(1).float()  # type: ignore[no-any-return]
