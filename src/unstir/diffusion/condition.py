"""What a model may be told about the images it is to draw: parts by name, and the three sockets of a network.

A part is a label, a caption, an embedding or a picture for each image of a batch, with a mask of the images it is
hidden from. Classifier-free training (Ho and Salimans 2022) hides parts at random, each on its own; the network
then uses its learned null in the part's place. Networks know no names: what is told reaches them through sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

from unstir.errors import InputError


@dataclass(frozen=True, eq=False)
class Condition:
    """What the images of a batch are conditioned on, by name.

    The batch is that of its parts. Without parts it tells nothing, of a batch of any length, as None does.

    Attributes:
        parts: For each name its values, (B, ...), and bool (B,), true where it is hidden from the network.
    """

    parts: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(tensor) for part in self.parts.values() for tensor in part}
        if len(lengths) > 1:
            told = ", ".join(f"{name} {len(value)}" for name, (value, _) in self.parts.items())
            raise ValueError(f"the parts of a condition, and their masks, are of one batch; here are {told}")

    @staticmethod
    def of(values: Mapping[str, Tensor]) -> Condition:
        """Return the condition of these values (B, ...); rows of numbers (B, K) that are not finite are hidden."""

        def hidden(value: Tensor) -> Tensor:
            if value.is_floating_point() and value.dim() == 2:
                return ~value.isfinite().all(1)
            return torch.zeros(len(value), dtype=torch.bool, device=value.device)

        return Condition({name: (value, hidden(value)) for name, value in values.items()})

    @property
    def names(self) -> tuple[str, ...]:
        """The parts' names."""
        return tuple(self.parts)

    def __len__(self) -> int:
        """Return how many images the batch has; 0 without parts."""
        return len(next(iter(self.parts.values()))[0]) if self.parts else 0

    def map(self, f: Callable[[Tensor], Tensor]) -> Condition:
        """Return the condition with ``f`` of each tensor, values and masks."""
        return Condition({name: (f(value), f(hidden)) for name, (value, hidden) in self.parts.items()})

    def __getitem__(self, rows: slice | Tensor) -> Condition:
        """Return the condition of these images: a slice, their indices, or a bool mask (B,)."""
        return self.map(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> Condition:
        """Return the condition on a device."""
        return self.map(lambda tensor: tensor.to(device))

    def hide(self, names: Iterable[str] | None = None, mask: Tensor | None = None) -> Condition:
        """Return the condition with parts hidden, beside what is hidden already.

        Args:
            names: The parts to hide; None for all.
            mask: bool (B,), true for the images to hide them from; None for all.

        Raises:
            InputError: If there is no part of such a name.
        """
        names = self.names if names is None else tuple(names)
        for name in names:
            if name not in self.parts:
                known = f"only {', '.join(self.parts)}" if self.parts else "nor any other"
                raise InputError(f"The condition has no part {name!r} to hide, {known}")

        def hidden_now(hidden: Tensor) -> Tensor:
            return torch.ones_like(hidden) if mask is None else hidden | mask.to(hidden.device)

        return Condition(
            {
                name: (value, hidden_now(hidden) if name in names else hidden)
                for name, (value, hidden) in self.parts.items()
            }
        )

    def drop(
        self, p: Mapping[str, float], generator: torch.Generator, source: Mapping[str, str] = MappingProxyType({})
    ) -> Condition:
        """Return the condition with each part hidden from each image on its own, at random.

        Args:
            p: How probably, by name; a part that is not named stays.
            generator: Where the random numbers come from, one part after another by the alphabet. A part that is
                not named, or with probability 0, takes none.
            source: What a part says, by name, if not what its name does: parts that say the same are hidden
                together, as far as their probabilities allow.
        """
        condition, chances = self, dict[str, Tensor]()
        for name in sorted(name for name in self.parts if p.get(name, 0) > 0):
            said = source.get(name, name)
            if said not in chances:
                chances[said] = torch.rand(len(self), generator=generator, device=generator.device)
            condition = condition.hide([name], chances[said] < p[name])
        return condition

    def beside(self, other: Condition) -> Condition:
        """Return the condition of a batch joined to another's, part by part.

        Raises:
            ValueError: If the two have not the same names.
        """
        if {*self.parts} != {*other.parts}:
            ours, theirs = (", ".join(condition.names) for condition in (self, other))
            raise ValueError(f"conditions are joined part by part: one has {ours}, the other {theirs}")
        return Condition(
            {
                name: (torch.cat([value, other.parts[name][0]]), torch.cat([hidden, other.parts[name][1]]))
                for name, (value, hidden) in self.parts.items()
            }
        )


@dataclass(frozen=True, eq=False)
class Sockets:
    """What a network is told besides the images and their time; it has three sockets and knows no names.

    Attributes:
        vector: (B, V), added to the embedding of the time, or joined to the input where there is none.
        tokens: (B, L, W), attended to.
        image: (B, C, H, W), of the input's height and width, joined to its channels.
    """

    vector: Tensor | None = None
    tokens: Tensor | None = None
    image: Tensor | None = None

    def with_image(self, x: Tensor) -> Tensor:
        """Return ``x`` (B, C, H, W) with the channels of the socket ``image``, if any, behind its own."""
        return x if self.image is None else torch.cat([x, self.image], dim=1)

    def tokens_of(self, width: int) -> Tensor | None:
        """Return the tokens for a network that was built to be told those of this width; 0 for none.

        Raises:
            ValueError: If it is told tokens and has no socket for them, or is told none and has one.
        """
        if (self.tokens is None) != (width == 0):
            raise ValueError("a network that is told tokens needs their width when it is built, and only then")
        return self.tokens
