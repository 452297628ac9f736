"""What a model may be told about the image it is to draw: one interface for class, text, image, embedding.

Classifier-free training (Ho and Salimans 2022) hides the condition of some images; the network then uses
its learned null in the condition's place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """What each image of a batch is conditioned on.

    Attributes:
        vector: int64 labels of shape (B,), or float embeddings of shape (B, D).
        tokens: A sequence of embeddings, shape (B, L, D).
        image: Channels joined to the input, shape (B, C, H, W).
        hidden: bool of shape (B,), true where the image's condition is hidden from the network.
    """

    vector: Tensor | None = None
    tokens: Tensor | None = None
    image: Tensor | None = None
    hidden: Tensor | None = None

    def drop(self, p: float, generator: torch.Generator | None = None) -> Condition:
        """Return this condition with each image's hidden independently with probability ``p``."""
        chance = torch.rand(self._batch, generator=generator)
        return self.hide(chance < p)

    def hide(self, hidden: Tensor | None = None) -> Condition:
        """Return this condition hidden for the images where ``hidden`` (bool, shape (B,)) is true; all if None."""
        hidden = torch.ones_like(self._mask) if hidden is None else hidden
        return replace(self, hidden=hidden | self._mask)

    def beside(self, other: Condition) -> Condition:
        """Return the condition of a batch joined to another's, part by part."""
        return Condition(
            _join(self.vector, other.vector),
            _join(self.tokens, other.tokens),
            _join(self.image, other.image),
            torch.cat([self._mask, other._mask]),
        )

    @property
    def _mask(self) -> Tensor:
        return torch.zeros(self._batch, dtype=torch.bool) if self.hidden is None else self.hidden

    @property
    def _batch(self) -> int:
        return next(len(part) for part in (self.vector, self.tokens, self.image) if part is not None)


def _join(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return None if a is None or b is None else torch.cat([a, b])
