"""Choices that follow from a key alone: the digits of its hash, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

Option = TypeVar("Option")


class Choices:
    """A row of independent choices, each among equally likely options.

    The 512 bits of the hash are taken as one number, and each choice among n options as its next digit to base n:
    for the fewer than 100 bits that a scene takes, no option is likelier than another by more than 2^-400.

    Args:
        key: What they follow from.
    """

    def __init__(self, *key: object) -> None:
        self._rest = int.from_bytes(hashlib.blake2b(repr(key).encode()).digest(), "big")

    def of(self, options: Sequence[Option]) -> Option:
        """Return one of the options."""
        self._rest, digit = divmod(self._rest, len(options))
        return options[digit]
