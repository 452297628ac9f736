"""The plain U-Net of the tutorials: convolutions, ReLU and batch norm, no residual links and no attention.

Channels 64 to 1024 and back. Each block is convolution, ReLU, batch norm, plus the time through a linear
layer and ReLU, convolution, ReLU, batch norm, then a strided 4x4 convolution down, or a transposed one up.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unstir.diffusion import Sockets
from unstir.networks.embedding import sinusoids
from unstir.networks.resize import pad_to


class PlainUNet(nn.Module):
    """The tutorials' U-Net.

    Args:
        image_channels: C of the images.
        channels: Channels of each level.
        embedding: Width of the time embedding, to which the vector that is told is added.
        outputs: How many images' channels are returned.
        image: Channels that the socket ``image`` joins to the input.
    """

    def __init__(
        self,
        image_channels: int,
        channels: Sequence[int] = (64, 128, 256, 512, 1024),
        embedding: int = 32,
        outputs: int = 1,
        image: int = 0,
    ) -> None:
        super().__init__()
        self.stride = 2 ** (len(channels) - 1)
        self.embedding_width = embedding
        self.time = nn.Sequential(nn.Linear(embedding, embedding), nn.ReLU())
        self.stem = nn.Conv2d(image_channels + image, channels[0], 3, padding=1)
        pairs = list(itertools.pairwise(channels))
        self.down = nn.ModuleList(_Block(a, b, embedding, nn.Conv2d(b, b, 4, 2, 1)) for a, b in pairs)
        self.up = nn.ModuleList(
            _Block(2 * b, a, embedding, nn.ConvTranspose2d(a, a, 4, 2, 1)) for a, b in reversed(pairs)
        )
        self.out = nn.Conv2d(channels[0], outputs * image_channels, 1)

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets = Sockets()) -> Tensor:
        """Return (B, outputs * C, H, W) for images ``x`` (B, C, H, W)."""
        height, width = x.shape[-2:]
        embedding = self.time(sinusoids(t, self.embedding_width))
        if sockets.vector is not None:
            embedding = embedding + sockets.vector
        h = self.stem(pad_to(sockets.with_image(x), self.stride))
        skips = []
        for block in self.down:
            h = block(h, embedding)
            skips.append(h)
        for block in self.up:
            h = block(torch.cat([h, skips.pop()], dim=1), embedding)
        return self.out(h)[..., :height, :width]


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, embedding: int, resize: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.second = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.first_norm = nn.BatchNorm2d(channels_out)
        self.second_norm = nn.BatchNorm2d(channels_out)
        self.time = nn.Linear(embedding, channels_out)
        self.resize = resize

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.first_norm(torch.relu(self.first(x)))
        h = h + torch.relu(self.time(embedding))[..., None, None]
        return self.resize(self.second_norm(torch.relu(self.second(h))))
