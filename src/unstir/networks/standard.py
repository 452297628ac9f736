r"""Numbers brought to mean 0 and variance 1, channel by channel, by what training has seen.

.. math:: c = (z - m) / s, \qquad z = m + s\, c,

with m and s of the last hundred training batches or so: weights change, and with them what they make.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unstir.processes import summed

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
        """Take note of a training batch, of which each process has a share."""
        self.batches += 1
        share = 1 / self.batches.clamp(max=SPAN)
        values = z.float().transpose(0, 1).flatten(1)
        sums = torch.stack([values, values.square(), torch.ones_like(values)]).sum(2)
        mean, square, count = summed(sums)
        self.mean.lerp_(mean / count, share)
        self.square.lerp_(square / count, share)

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
