r"""Numbers brought to mean 0 and variance 1, channel by channel, by what training has seen.

.. math:: c = (z - m) / s, \qquad z = m + s\, c,

with m and s of the last hundred training batches or so: weights change, and with them what they make.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SPAN = 100
"""Of how many batches the running means are; fewer while there have not been so many."""

LEAST_VARIANCE = 1e-12


class Standard(nn.Module):
    """Running means of codes (B, c, h, w) and of their squares, which nothing learns.

    Args:
        channels: c.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean, self.square = nn.Buffer(torch.zeros(channels)), nn.Buffer(torch.ones(channels))
        self.batches = nn.Buffer(torch.zeros(()))

    @torch.no_grad()
    def observe(self, z: Tensor) -> None:
        """Take note of a training batch."""
        self.batches += 1
        share = 1 / self.batches.clamp(max=SPAN)
        values = z.float().transpose(0, 1).flatten(1)
        self.mean.lerp_(values.mean(1), share)
        self.square.lerp_(values.square().mean(1), share)

    @property
    def shift(self) -> Tensor:
        """m, (c, 1, 1)."""
        return self.mean[:, None, None]

    @property
    def scale(self) -> Tensor:
        """s, (c, 1, 1)."""
        return (self.square - self.mean.square()).clamp(min=LEAST_VARIANCE).sqrt()[:, None, None]

    def forward(self, z: Tensor) -> Tensor:
        """Return codes of unit variance."""
        return (z - self.shift) / self.scale

    def undone(self, codes: Tensor) -> Tensor:
        """Return z of such codes."""
        return self.shift + self.scale * codes
