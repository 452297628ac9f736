"""What images are told, as a person writes it: ``NAME=VALUE``, or several values with commas. No torch.

By the kind of what is told, a value is

    classes     a class by its name, or else by its number: ``colour=red``, ``colour=0``
    numbers     a number, or K of them with colons between them: ``angle=45``, ``place=0.5:-3``
    picture     the path of a picture: ``sketch=house.png``

A class or a path may hold commas itself. An embedding cannot be written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np

from unstir.errors import InputError, nearest
from unstir.models.config import class_index
from unstir.networks.told import Told

if TYPE_CHECKING:
    from torch import Tensor

Value = Union[int, "tuple[float, ...]", np.ndarray]
"""Of classes the number of one; of numbers all K; of a picture its pixels, uint8 (C, H, W)."""

Picture = Callable[[Path, int], np.ndarray]
"""From the path of a picture and how many channels it is to have to its pixels, uint8 (C, H, W)."""

FAR = 10.0
"""Standard deviations from the mean, beyond which a number is like none that a model was trained on."""

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Written:
    """What images are told by one name.

    Attributes:
        name: Of what is told.
        texts: Each value as it is shown: the name of a class, numbers as they were written, the name of a file.
        values: As many.
    """

    name: str
    texts: tuple[str, ...]
    values: tuple[Value, ...]

    def tensor(self, which: Sequence[int]) -> Tensor:
        """Return the values of these indices, as a model is told them: (N), (N, K) or (N, C, H, W) in [-1, 1]."""
        import torch

        rows = torch.tensor(np.stack([np.asarray(value) for value in self.values]))
        if rows.dtype == torch.uint8:
            rows = rows / 127.5 - 1
        elif rows.is_floating_point():
            rows = rows.float()
        return rows[torch.tensor(which)]


def read(told: Mapping[str, Told], text: str, picture: Picture) -> Written:
    """Read ``NAME=VALUE`` or ``NAME=VALUE,VALUE,...``.

    Args:
        told: What the model is told, by name.
        text: What was written.
        picture: Reads a picture, which the model is told in the size of its images.

    Raises:
        InputError: For a name that the model is not told, with the nearest; a class that there is not, with the
            nearest; what is no number, or not as many as there are; or what cannot be written.
    """
    name, equals, written = _parted(told, text)
    if not equals:
        raise InputError(f"A condition is written NAME=VALUE, not '{text}'")
    if name not in told:
        names = ", ".join(told) or "nothing"
        raise InputError(f"This model is told no '{name}'{nearest(name, [*told])} (it is told {names})")
    one = told[name]
    if one.kind == "text":
        raise InputError(f"'{name}' is a text: tell it by --prompt")
    if one.kind == "embedding" or (one.kind == "picture" and one.width not in (1, 3, 4)):
        what = f"a picture of {one.width} channels" if one.kind == "picture" else "an embedding"
        raise InputError(
            f"'{name}' is {what} and cannot be written: tell it in Python, run.sample(told={{'{name}': ...}})"
        )
    path = one.kind == "picture" and os.path.isfile(written)  # which a name too long for Path is not
    parts = split(written, [written] if path else one.classes)
    if not all(parts):
        raise InputError(f"'{name}' takes a value or several with commas between them, not '{written}'")
    pairs = [_VALUE[one.kind](name, one, part, picture) for part in parts]
    return Written(name, tuple(text for text, _ in pairs), tuple(value for _, value in pairs))


def split(text: str, names: Collection[str]) -> list[str]:
    """Return what stands between the commas, but for those within one of ``names``; without the spaces around it.

    >>> split("a, b,c, d", ["b,c"])
    ['a', 'b,c', 'd']
    """
    pieces = text.split(",")
    most = 1 + max((name.count(",") for name in names), default=0)
    found, first = [], 0
    while first < len(pieces):
        for count in range(min(most, len(pieces) - first), 0, -1):
            joined = ",".join(pieces[first : first + count])
            part = joined if joined in names else joined.strip()
            if part in names:
                break
        found.append(part)
        first += count
    return found


def warning(told: Mapping[str, Told], written: Written) -> str:
    """Return a sentence on the numbers that lie far from all that the model was trained on; "" if none does."""
    one = told.get(written.name)
    if one is None or one.kind != "numbers" or not one.mean or not one.std:
        return ""
    mean, std = np.array(one.mean), np.array(one.std)
    far = [
        text
        for text, value in zip(written.texts, written.values)
        if (np.abs(np.asarray(value) - mean) > FAR * std).any()
    ]
    if not far:
        return ""
    usual = ":".join(f"{middle:.3g} (give or take {spread:.2g})" for middle, spread in zip(mean, std))
    return f"Far from all that the model was trained on: {written.name} {', '.join(far)}, where {usual} is usual"


def _parted(told: Mapping[str, Told], text: str) -> tuple[str, str, str]:
    """Return the name, "=" and what follows; a name may hold "=" itself, if the model is told one such."""
    for name in sorted(told, key=len, reverse=True):
        if text.startswith(f"{name}="):
            return name, "=", text[len(name) + 1 :]
    name, equals, written = text.partition("=")
    return name.strip(), equals, written


def _class(name: str, one: Told, text: str, _: Picture) -> tuple[str, Value]:
    index = class_index(one.classes, text, name)
    return one.classes[index], index


def _numbers(name: str, one: Told, text: str, _: Picture) -> tuple[str, Value]:
    try:
        found = tuple(float(part) for part in text.split(":"))
    except ValueError:
        found = ()
    if len(found) != one.width or not all(isfinite(number) and abs(number) <= _LARGEST for number in found):
        such = ":".join(f"{number:.3g}" for number in one.mean or range(one.width))
        what = "a number" if one.width == 1 else f"{one.width} numbers with colons between them"
        raise InputError(f"'{name}' is {what}, such as {such}, not '{text}'")
    return text, found


def _picture(name: str, one: Told, text: str, picture: Picture) -> tuple[str, Value]:
    return Path(text).stem, picture(Path(text), one.width)


_VALUE: dict[str, Callable[[str, Told, str, Picture], tuple[str, Value]]] = {
    "classes": _class,
    "numbers": _numbers,
    "picture": _picture,
}
"""By kind: from one text to it as it is shown, and its value."""
