"""What a model may be told about the image it is to draw: named parts, each hidden on its own.

Classifier-free training (Ho and Salimans 2022) hides the condition of some images; the network then uses
its learned null in the condition's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unstir.errors import InputError


@dataclass(frozen=True)
class Condition:
    """What each image of a batch is conditioned on.

    Attributes:
        parts: By name: a value of shape (B, ...), and bool (B,), true where it is hidden from the network.
    """

    parts: Mapping[str, tuple[Tensor, Tensor]]

    @staticmethod
    def of(values: Mapping[str, Tensor]) -> Condition:
        """Return the condition of these values, with nothing hidden."""
        return Condition(
            {k: (v, torch.zeros(len(v), dtype=torch.bool, device=v.device)) for k, v in values.items()}
        )

    def map(self, f: Callable[[Tensor], Tensor]) -> Condition:
        """Return the condition with ``f`` of every value and mask."""
        return Condition({name: (f(value), f(hidden)) for name, (value, hidden) in self.parts.items()})

    def hide(self, names: Iterable[str] | None = None, mask: Tensor | None = None) -> Condition:
        """Return the condition with these names (None: all) hidden for the images of ``mask`` (B,) (None: all)."""
        which = set(self.parts if names is None else names)
        return Condition(
            {
                name: (value, hidden | (torch.ones_like(hidden) if mask is None else mask.to(hidden.device)))
                if name in which
                else (value, hidden)
                for name, (value, hidden) in self.parts.items()
            }
        )

    def drop(self, p: Mapping[str, float], generator: torch.Generator | None = None) -> Condition:
        """Return the condition with each name hidden from each image with its probability in ``p``."""
        result = self
        for name in self.parts:
            if p.get(name, 0) > 0:
                result = result.hide([name], torch.rand(len(self), generator=generator) < p[name])
        return result

    def beside(self, other: Condition) -> Condition:
        """Return the condition of a batch joined to another's, part by part."""
        if set(self.parts) != set(other.parts):
            raise InputError("Conditions that are joined have the same parts")
        return Condition(
            {
                name: (torch.cat([value, other.parts[name][0]]), torch.cat([hidden, other.parts[name][1]]))
                for name, (value, hidden) in self.parts.items()
            }
        )

    def __getitem__(self, rows: slice | Tensor) -> Condition:
        """Return the condition of some of the images."""
        return self.map(lambda t: t[rows])

    def to(self, device: torch.device | str) -> Condition:
        """Return the condition on a device."""
        return self.map(lambda t: t.to(device))

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(next(iter(self.parts.values()))[0])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parts."""
        return tuple(self.parts)


@dataclass(frozen=True)
class Sockets:
    """What a network is told.

    Attributes:
        vector: (B, V).
        tokens: (B, L, W).
        image: (B, C, H, W).
    """

    vector: Tensor | None = None
    tokens: Tensor | None = None
    image: Tensor | None = None
