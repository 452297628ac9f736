"""The fully connected U-Net for flattened images: linear layers that narrow and widen again.

The time is one extra input element, ``t / T``. Residual links join layers of equal width across the U, the
input and the output among them. The last is scaled by a learned gate for each image: how much of the input a
good answer holds depends on the noise level, and an undercomplete network cannot pass the input on by itself.
The time element can be left out, to see what it is worth.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unstir.diffusion import Sockets
from unstir.networks.blocks import zeroed


class FullyConnectedUNet(nn.Module):
    """An undercomplete U of linear layers.

    Args:
        shape: (C, H, W) of the images.
        widths: The widths on the way down, falling; the way up mirrors them.
        vector: Width of the vector it may be told, input elements that are zero where it is not told any.
        time: Whether the time is an input element.
        norm: Whether each hidden layer is followed by layer norm.
        outputs: How many images' channels are returned, each with a gate of its own.
        image: Channels that the socket ``image`` joins to the input.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        widths: Sequence[int] = (2048, 1024, 512),
        vector: int = 0,
        time: bool = True,
        norm: bool = True,
        outputs: int = 1,
        image: int = 0,
    ) -> None:
        super().__init__()
        self.vector, self.time = vector, time
        pixels = math.prod(shape)
        down = [pixels + image * math.prod(shape[1:]) + vector + int(time), *widths]
        up = [*reversed(widths)]
        self.down = nn.ModuleList(_layer(a, b, norm) for a, b in itertools.pairwise(down))
        self.up = nn.ModuleList(_layer(a, b, norm) for a, b in itertools.pairwise(up))
        self.out = zeroed(nn.Linear(widths[0], outputs * pixels))
        self.gate = zeroed(nn.Linear(widths[0], outputs))

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets = Sockets()) -> Tensor:
        """Return (B, outputs * C, H, W) for images ``x`` (B, C, H, W)."""
        parts = [sockets.with_image(x).flatten(1)]
        if self.vector:
            parts.append(x.new_zeros(len(x), self.vector) if sockets.vector is None else sockets.vector.to(x))
        if self.time:
            parts.append(t[:, None].to(x))
        h = torch.cat(parts, dim=1)
        skips = []
        for layer in self.down:
            h = layer(h)
            skips.append(h)
        skips.pop()
        for layer in self.up:
            h = layer(h) + skips.pop()
        gates = self.gate(h)[:, :, None, None, None]
        return (gates * x[:, None]).flatten(1, 2) + self.out(h).reshape(len(x), -1, *x.shape[2:])


def _layer(width_in: int, width_out: int, norm: bool) -> nn.Sequential:
    layers = [nn.Linear(width_in, width_out), *([nn.LayerNorm(width_out)] if norm else []), nn.SiLU()]
    return nn.Sequential(*layers)
