r"""The network of the score models, NCSN (Song and Ermon 2019, appendix A): a RefineNet (Lin et al. 2017).

Residual blocks on several levels. The second level halves the resolution; from the third on, convolutions are
dilated by 2, 4, ... instead, which widens what they see and keeps the pixels. On the way back each level is
refined: its features pass through residual units with ELU, are joined to those of the level below, and pooled over
growing windows. Before each convolution stands a norm that is told the noise level, conditional instance norm++:

.. math:: z_k = \gamma_k \frac{x_k - \mu_k}{s_k} + \beta_k + \alpha_k \frac{\mu_k - m}{v}

with :math:`\mu_k, s_k` the mean and deviation of channel k over an image's pixels, and m, v those of the
:math:`\mu_k` over the channels: an instance norm alone would lose how bright the channels are beside each other.
The paper keeps a row of :math:`\gamma, \beta, \alpha` for each of its ten levels. Here they are linear in an
embedding of the time and the vector that is told, which continues the rows between levels and serves a ladder of
any length.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.diffusion import Sockets
from unstir.kernels.norm import EPSILON, norm
from unstir.networks.blocks import Convolution, zeroed
from unstir.networks.embedding import Embedding
from unstir.networks.resize import pad_to


class RefineNet(nn.Module):
    """The RefineNet of the score models.

    Args:
        image_channels: C of the images.
        channels: Channels of each level, finest first.
        blocks: Residual blocks on each level, and residual units before each join.
        patch: Pixels in a square of this side become channels before the first level, and back at the end.
        outputs: How many images' channels are returned.
        image: Channels that the socket ``image`` joins to the input.
    """

    def __init__(
        self,
        image_channels: int,
        channels: Sequence[int] = (128, 256, 256, 256),
        blocks: int = 2,
        patch: int = 1,
        outputs: int = 1,
        image: int = 0,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.stride = patch * (2 if len(channels) > 1 else 1)
        width = 2 * channels[0]
        self.embedding = Embedding(width)
        self.stem = nn.Conv2d((image_channels + image) * patch**2, channels[0], 3, padding=1)
        self.levels, self.refined = nn.ModuleList(), nn.ModuleList()
        for index, (above, here) in enumerate(itertools.pairwise([channels[0], *channels])):
            level = nn.ModuleList(
                _ResidualBlock(
                    above if block == 0 else here,
                    here,
                    width,
                    dilation=2 ** max(0, index - 1),
                    halve=index == 1 and block == 0,
                )
                for block in range(blocks)
            )
            self.levels.append(level)
        below: list[int] = []
        for index, here in reversed(list(enumerate(channels))):
            self.refined.append(_Refine([here, *below], here, width, blocks, last=3 if index == 0 else 1))
            below = [here]
        self.out_norm = InstanceNormPlus(channels[0], width)
        self.out = zeroed(Convolution(channels[0], outputs * image_channels * patch**2))

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets = Sockets()) -> Tensor:
        """Return (B, outputs * C, H, W) for images ``x`` (B, C, H, W)."""
        height, width = x.shape[-2:]
        embedding = functional.silu(self.embedding(t, sockets.vector))
        h = functional.pixel_unshuffle(pad_to(sockets.with_image(x), self.stride), self.patch)
        h = self.stem(h.contiguous(memory_format=torch.channels_last))
        features = []
        for level in self.levels:
            for block in level:
                h = block(h, embedding)
            features.append(h)
        h = self.refined[0]([features.pop()], embedding)
        for refine in self.refined[1:]:
            h = refine([features.pop(), h], embedding)
        h = functional.elu(self.out_norm(h, embedding)[0])
        return functional.pixel_shuffle(self.out(h), self.patch)[..., :height, :width]


class InstanceNormPlus(nn.Module):
    """Conditional instance norm++.

    Args:
        channels: How many channels there are.
        embedding: Width of the embedding.
    """

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(embedding, 3 * channels)
        nn.init.normal_(self.modulation.weight, std=0.02)
        with torch.no_grad():
            self.modulation.bias.copy_(torch.tensor([1.0, 1.0, 0.0]).repeat_interleave(channels))

    def forward(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Normalize ``x`` (B, C, H, W), told the embedding (B, E).

        Returns:
            The result, and ``x`` for a link around the norm.
        """
        gain, mean_gain, shift = self.modulation(embedding).float().chunk(3, dim=1)
        means = x.mean(dim=(2, 3), dtype=torch.float32)
        centred = means - means.mean(dim=1, keepdim=True)
        deviation = (centred.square().mean(dim=1, keepdim=True) + EPSILON).sqrt()
        return norm(x, gain, shift + mean_gain * centred / deviation, x.shape[1])


class _ResidualBlock(nn.Module):
    """Norm, ELU, convolution, twice; the second may be followed by a mean over 2x2 pixels."""

    def __init__(
        self, channels_in: int, channels_out: int, embedding: int, dilation: int = 1, halve: bool = False
    ) -> None:
        super().__init__()
        self.halve = halve
        self.first_norm = InstanceNormPlus(channels_in, embedding)
        self.first = _convolution(channels_in, channels_out, dilation)
        self.second_norm = InstanceNormPlus(channels_out, embedding)
        self.second = _convolution(channels_out, channels_out, dilation)
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h, x = self.first_norm(x, embedding)
        h, _ = self.second_norm(self.first(functional.elu(h)), embedding)
        h = self.shortcut(x) + self.second(functional.elu(h))
        return functional.avg_pool2d(h, 2) if self.halve else h


class _ResidualUnits(nn.Module):
    """RCU: units of two normed convolutions around which x is led (Lin et al. 2017)."""

    def __init__(self, channels: int, embedding: int, count: int) -> None:
        super().__init__()
        self.units = nn.ModuleList(_ResidualBlock(channels, channels, embedding) for _ in range(count))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for unit in self.units:
            x = unit(x, embedding)
        return x


class _Join(nn.Module):
    """MRF: each path normed, convolved and enlarged to the finest; then their sum."""

    def __init__(self, paths: Sequence[int], channels: int, embedding: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(InstanceNormPlus(path, embedding) for path in paths)
        self.convolutions = nn.ModuleList(_convolution(path, channels) for path in paths)

    def forward(self, paths: Sequence[Tensor], embedding: Tensor) -> Tensor:
        size = paths[0].shape[-2:]
        total = 0
        for path, normed, convolution in zip(paths, self.norms, self.convolutions, strict=True):
            h = convolution(normed(path, embedding)[0])
            if h.shape[-2:] != size:
                h = functional.interpolate(h, size=size, mode="bilinear")
            total = total + h
        return total


class _Pool(nn.Module):
    """CRP: a chain of norm, mean over 5x5 pixels and convolution, whose every link is added."""

    def __init__(self, channels: int, embedding: int, links: int = 2) -> None:
        super().__init__()
        self.norms = nn.ModuleList(InstanceNormPlus(channels, embedding) for _ in range(links))
        self.convolutions = nn.ModuleList(_convolution(channels, channels) for _ in range(links))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = path = functional.elu(x)
        for normed, convolution in zip(self.norms, self.convolutions, strict=True):
            path = convolution(functional.avg_pool2d(normed(path, embedding)[0], 5, stride=1, padding=2))
            x = x + path
        return x


class _Refine(nn.Module):
    """A level's refinement: residual units for each path, their join, the pooling, residual units again."""

    def __init__(self, paths: Sequence[int], channels: int, embedding: int, units: int, last: int) -> None:
        super().__init__()
        self.adapted = nn.ModuleList(_ResidualUnits(path, embedding, units) for path in paths)
        self.join = _Join(paths, channels, embedding)
        self.pool = _Pool(channels, embedding)
        self.last = _ResidualUnits(channels, embedding, last)

    def forward(self, paths: Sequence[Tensor], embedding: Tensor) -> Tensor:
        paths = [adapt(path, embedding) for adapt, path in zip(self.adapted, paths, strict=True)]
        return self.last(self.pool(self.join(paths, embedding), embedding), embedding)


def _convolution(channels_in: int, channels_out: int, dilation: int = 1) -> nn.Conv2d:
    if dilation == 1:
        return Convolution(channels_in, channels_out)
    return nn.Conv2d(channels_in, channels_out, 3, padding=dilation, dilation=dilation)
