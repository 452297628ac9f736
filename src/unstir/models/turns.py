"""Samples that are of several labels in turn, each label in rows of its own. No torch.

Of D labels and n samples, sample i = k D + d is the k-th of label d. It lies in column k mod C of row k // C of
the rows of its label, where C is chosen for about as many rows as columns in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unstir.models.written import Written

MOST = 20
"""Labels that have rows of their own, at most."""


@dataclass(frozen=True)
class Turns:
    """How samples lie in one picture.

    Attributes:
        names: Of the labels, in their turn.
        count: How many samples there are.
    """

    names: Sequence[str]
    count: int

    @property
    def across(self) -> None:
        """Nothing stands above the columns."""
        return None

    @property
    def down(self) -> Written:
        """What stands beside the rows."""
        return Written("", tuple(self.names), tuple(range(len(self.names))))

    @property
    def groups(self) -> int:
        """How many labels there are."""
        return len(self.names)

    @property
    def each(self) -> int:
        """How many rows a label has."""
        return max(1, round((self._of_one / self.groups) ** 0.5))

    @property
    def columns(self) -> int:
        """How many there are."""
        return -(-self._of_one // self.each)

    @property
    def _of_one(self) -> int:
        return -(-self.count // self.groups)

    def order(self) -> list[int]:
        """Return which sample lies in each place, by rows; ``count`` for none."""
        places = range(self.each * self.columns)
        return [min(k * self.groups + d, self.count) for d in range(self.groups) for k in places]


def in_turn(names: Sequence[str], count: int) -> Turns | None:
    """Return how samples lie that are of these labels in turn; None of one label, or of too many for rows."""
    return Turns(names[:count], count) if 1 < len(names[:count]) <= MOST else None


def turns(labels: Sequence[int], names: Sequence[str]) -> Turns | None:
    """Return how samples of these labels lie, or None where they do not come in turn.

    Args:
        labels: Of each sample.
        names: Of all labels that there are.
    """
    found = [*dict.fromkeys(labels)]
    if any(label != found[i % len(found)] for i, label in enumerate(labels)):
        return None
    return in_turn([names[label] for label in found], len(labels))
