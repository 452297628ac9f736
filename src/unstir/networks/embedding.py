"""The time as a vector, to which what else is told in a vector is added."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoids(t: Tensor, width: int, scale: float = 1000.0) -> Tensor:
    """Return sines and cosines of ``scale * t`` at geometric frequencies from 1 to 1/10,000, shape (B, width).

    Vaswani et al. 2017, section 3.5; with the scale of 1000, a time n / 1000 reads as the papers' index n.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
    angles = scale * t.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Embedding(nn.Module):
    """The time's sinusoids through an MLP (Ho et al. 2020, appendix B), plus the vector that is told, if any.

    Args:
        width: The width of the result.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sinusoid_width = max(32, width // 8 * 2)
        self.mlp = nn.Sequential(nn.Linear(self.sinusoid_width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor, vector: Tensor | None = None) -> Tensor:
        """Return (B, width) for times (B,) and a vector (B, width) or None."""
        embedding = self.mlp(sinusoids(t, self.sinusoid_width))
        return embedding if vector is None else embedding + vector
