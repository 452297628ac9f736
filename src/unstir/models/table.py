"""Every combination of what images are told, each from the same seeds: a labelled grid. No torch.

Of R values down and C across, with n samples of each, image i is told the r-th of the one and the c-th of the
other, and comes from the seed of sample k, where

    i = (r n + k) C + c.

So along a row what is told across changes and nothing else, and down a column, from a row to the n-th after it,
what is told down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from unstir.errors import InputError
from unstir.models.written import Written

if TYPE_CHECKING:
    from torch import Tensor

APART = ("label", "prompt")
"""What drawing has arguments of its own for."""


@dataclass(frozen=True)
class Table:
    """Which image is told what.

    Of what has several values the first lies across and the second down; what has one is told all images.

    Attributes:
        told: What is told, each by another name.
        each: How many samples there are of each combination.
    """

    told: Sequence[Written]
    each: int

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            InputError: For more than two things of several values, or two of one name.
        """
        names = [written.name for written in self.told]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"'{name}' is told twice: give its values once, with commas between them")
        if len(self._axes) > 2:
            wide = ", ".join(axis.name for axis in self._axes)
            raise InputError(f"A grid has columns and rows, and {wide} have several values each: give one some")

    @cached_property
    def _axes(self) -> list[Written]:
        return [written for written in self.told if len(written.values) > 1]

    @property
    def across(self) -> Written | None:
        """What changes along a row; None if nothing has several values, and there is no grid."""
        return next(iter(self._axes), None)

    @property
    def down(self) -> Written | None:
        """What changes down a column, or None."""
        return next(iter(self._axes[1:]), None)

    @property
    def columns(self) -> int:
        """How many there are."""
        return 1 if self.across is None else len(self.across.values)

    @property
    def groups(self) -> int:
        """How many there are of ``each`` rows, by what is told down."""
        return 1 if self.down is None else len(self.down.values)

    def __len__(self) -> int:
        """Return how many images there are."""
        return self.groups * self.each * self.columns

    def find(self, name: str) -> Written | None:
        """Return what is told by a name, or None."""
        return next((written for written in self.told if written.name == name), None)

    def sample(self, i: int) -> int:
        """Return which of a combination's samples image ``i`` is."""
        return i // self.columns % self.each

    def seeds(self, first: int) -> list[int]:
        """Return the seed of each image: sample k has ``first`` + k."""
        return [first + self.sample(i) for i in range(len(self))]

    def values(self, written: Written) -> list[int]:
        """Return for each image which of the values it is told."""
        return [self._value(written, i) for i in range(len(self))]

    @property
    def texts(self) -> dict[str, list[str]]:
        """What each image is told beside its label and prompt, as it is shown."""
        return {one.name: [one.texts[i] for i in self.values(one)] for one in self.told if one.name not in APART}

    def tensors(self) -> dict[str, Tensor]:
        """Return what is told beside the label and the prompt, with a row for each image, or one for all."""
        rows = {one.name: self.values(one) if len(one.values) > 1 else [0] for one in self.told}
        return {one.name: one.tensor(rows[one.name]) for one in self.told if one.name not in APART}

    def named(self, i: int) -> str:
        """Return what image ``i`` is told beside its label and prompt, such as ``-angle=45-colour=red``."""
        beside = [one for one in self.told if one.name not in APART]
        return "".join(f"-{one.name}={one.texts[self._value(one, i)]}" for one in beside)

    def _value(self, written: Written, i: int) -> int:
        if written is self.across:
            return i % self.columns
        return i // (self.columns * self.each) if written is self.down else 0
