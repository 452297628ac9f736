"""Between an image and one vector: what draws an image from a latent vector, and what reads a vector in an image.

A GAN has a generator and a discriminator, a variational autoencoder a decoder and an encoder. They are the same
two networks: from coarse to fine by residual blocks, and from fine to coarse.

On each level the image has half the height and width of the finer one, rounded up, so that images of any size fit:
what doubles is cropped, what halves takes the mean of the pixels that there are.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.networks.blocks import Convolution, Norm, NormKind, ResidualBlock
from unstir.networks.resize import pad_to

SLOPE = 0.2
"""Of the leaky ReLU, below 0."""


class Generator(nn.Module):
    """Draws an image from a latent vector and a vector that is told.

    Both make an embedding, from which the coarsest level is computed and which scales and shifts each block.

    Args:
        shape: (C, H, W) of the images.
        latent: Width of the latent vector.
        channels: Of each level, from fine to coarse.
        blocks: Residual blocks on each level.
        patch: The finest level draws patches of so many pixels a side.
        embedding: Width of the embedding, and of the vector that is told.
        norm: The norm.
        bounded: Whether the images lie in [-1, 1], into which tanh brings them.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        latent: int,
        channels: Sequence[int] = (32, 96, 192),
        blocks: int = 1,
        patch: int = 2,
        embedding: int = 128,
        norm: NormKind = "layer",
        bounded: bool = True,
    ) -> None:
        super().__init__()
        self.patch, self.bounded, self.size = patch, bounded, shape[1:]
        self.sizes = _sizes(shape[1:], patch, len(channels))
        self.latent = nn.Linear(latent, embedding)
        nn.init.normal_(self.latent.weight, std=latent**-0.5)  # as loud as what is told, or it goes unheard
        self.embed = nn.Linear(embedding, embedding)
        height, width = self.sizes[-1]
        self.start = nn.Linear(embedding, channels[-1] * height * width)
        self.levels, here = nn.ModuleList(), channels[-1]
        for level in reversed(channels):
            widths = [here] + [level] * blocks
            self.levels.append(
                nn.ModuleList(ResidualBlock(a, b, embedding, kind=norm) for a, b in itertools.pairwise(widths))
            )
            here = level
        self.out_norm = Norm(norm, here)
        self.out = Convolution(here, shape[0] * patch**2)

    def forward(self, z: Tensor, vector: Tensor | None = None) -> Tensor:
        """Return images (B, C, H, W), float32, for latent vectors ``z`` (B, L) and what is told, (B, E)."""
        embedding = self.latent(z)
        if vector is not None:
            embedding = embedding + vector
        embedding = self.embed(functional.silu(embedding))
        height, width = self.sizes[-1]
        h = self.start(functional.silu(embedding)).view(len(z), -1, height, width)
        h = h.contiguous(memory_format=torch.channels_last)
        for number, (level, (height, width)) in enumerate(zip(self.levels, reversed(self.sizes), strict=True)):
            if number:
                h = functional.interpolate(h, scale_factor=2, mode="nearest")[..., :height, :width]
            for block in level:  # type: ignore[union-attr]
                h = block(h, embedding)
        h, _ = self.out_norm(h, silu=True)
        height, width = self.size
        x = functional.pixel_shuffle(self.out(h), self.patch)[..., :height, :width].float()
        return x.tanh() if self.bounded else x


class Reader(nn.Module):
    """Reads a vector of features in an image, by convolutions and leaky ReLUs alone.

    It has no norm, and no operators but PyTorch's: what reads for a discriminator is differentiated twice.

    Args:
        shape: (C, H, W) of the images.
        channels: Of each level, from fine to coarse.
        blocks: Residual blocks on each level.
        patch: The finest level reads patches of so many pixels a side.
        features: Width of the features.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        channels: Sequence[int] = (32, 96, 192),
        blocks: int = 1,
        patch: int = 2,
        features: int = 128,
    ) -> None:
        super().__init__()
        self.patch, self.features = patch, features
        self.stem = nn.Conv2d(shape[0] * patch**2, channels[0], 3, padding=1)
        self.levels, here = nn.ModuleList(), channels[0]
        for level in channels:
            widths = [here] + [level] * blocks
            self.levels.append(nn.Sequential(*(_PlainBlock(a, b) for a, b in itertools.pairwise(widths))))
            here = level
        height, width = _sizes(shape[1:], patch, len(channels))[-1]
        self.out = nn.Linear(here * height * width, features)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, F) of images ``x`` (B, C, H, W)."""
        h = functional.pixel_unshuffle(pad_to(x, self.patch), self.patch)
        h = self.stem(h.contiguous(memory_format=torch.channels_last))
        for number, level in enumerate(self.levels):
            h = level(functional.avg_pool2d(h, 2, ceil_mode=True) if number else h)
        return self.out(functional.leaky_relu(h, SLOPE).flatten(1))


class Discriminator(nn.Module):
    r"""Says how real an image is, given what is told: the projection discriminator (Miyato and Koyama 2018).

    .. math:: D(x, y) = w^T \phi(x) + b + e(y)^T \phi(x) / \sqrt{F}

    Args:
        reader: phi but for its last leaky ReLU.
    """

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader
        self.real = nn.Linear(reader.features, 1)

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        """Return logits (B,), float32, for images ``x`` (B, C, H, W) and what is told, (B, F)."""
        features = functional.leaky_relu(self.reader(x), SLOPE)
        logits = self.real(features).squeeze(1).float()
        if vector is None:
            return logits
        return logits + (features.float() * vector.float()).sum(1) / features.shape[1] ** 0.5


class Encoder(nn.Module):
    """Reads the mean and the logarithm of the variance of latent vectors, given what is told.

    Args:
        reader: What reads the image.
        latent: Width of the latent vector.
    """

    def __init__(self, reader: Reader, latent: int) -> None:
        super().__init__()
        self.reader = reader
        self.out = nn.Linear(reader.features, 2 * latent)

    def forward(self, x: Tensor, vector: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return both, (B, L), float32, for images ``x`` (B, C, H, W) and what is told, (B, F)."""
        features = self.reader(x)
        if vector is not None:
            features = features + vector
        mean, log_variance = self.out(functional.leaky_relu(features, SLOPE)).float().chunk(2, dim=1)
        return mean, log_variance


class _PlainBlock(nn.Module):
    """Leaky ReLU, convolution, twice, around which the input goes."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.second = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(functional.leaky_relu(x, SLOPE))
        return self.shortcut(x) + self.second(functional.leaky_relu(h, SLOPE))


def _sizes(size: tuple[int, ...], patch: int, levels: int) -> list[tuple[int, int]]:
    """Return the height and width of each level, from fine to coarse."""
    height, width = (-(-side // patch) for side in size)
    sizes = []
    for _ in range(levels):
        sizes.append((height, width))
        height, width = -(-height // 2), -(-width // 2)
    return sizes
