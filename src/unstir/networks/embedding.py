"""What a network is told besides the image: the time, and the condition's vector."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from unstir.diffusion import Condition


def sinusoids(t: Tensor, width: int, scale: float = 1000.0) -> Tensor:
    """Return sines and cosines of ``scale * t`` at geometric frequencies from 1 to 1/10,000, shape (B, width).

    Vaswani et al. 2017, section 3.5; with the scale of 1000, a time n / 1000 reads as the papers' index n.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half)
    angles = scale * t.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class LabelEmbedding(nn.Module):
    """A learned vector for each class, and one more for a hidden label.

    Args:
        classes: How many classes there are.
        width: The vectors' width.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.classes = classes
        self.table = nn.Embedding(classes + 1, width)

    def forward(self, condition: Condition | None, batch: int) -> Tensor:
        """Return (batch, width); without a condition, every label is taken as hidden."""
        return self.table(label_index(condition, batch, self.classes).to(self.table.weight.device))


def label_index(condition: Condition | None, batch: int, classes: int) -> Tensor:
    """Return the int64 labels (batch,), with ``classes`` where the label is hidden or missing."""
    if condition is None or condition.vector is None:
        return torch.full((batch,), classes)
    labels = condition.vector
    return labels if condition.hidden is None else labels.masked_fill(condition.hidden.to(labels.device), classes)


class Embedding(nn.Module):
    """The time's sinusoids through an MLP, plus the label's vector (Ho et al. 2020, appendix B).

    Args:
        width: The width of the result.
        classes: How many classes there are; 0 for an unconditional network.
    """

    def __init__(self, width: int, classes: int = 0) -> None:
        super().__init__()
        self.sinusoid_width = max(32, width // 8 * 2)
        self.mlp = nn.Sequential(nn.Linear(self.sinusoid_width, width), nn.SiLU(), nn.Linear(width, width))
        self.label = LabelEmbedding(classes, width) if classes else None

    def forward(self, t: Tensor, condition: Condition | None) -> Tensor:
        """Return (B, width) for times (B,)."""
        embedding = self.mlp(sinusoids(t, self.sinusoid_width))
        return embedding if self.label is None else embedding + self.label(condition, len(t))
