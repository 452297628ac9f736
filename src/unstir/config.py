"""What configurations are made of: frozen, checked values, and parts of which there are several kinds. No torch.

A part builds what it configures and knows its own tiny version. Where there are several kinds of a part, a
:class:`Kinds` holds them by name; adding one is a class and ``@kinds.add`` above it, in this package or outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError

from unstir.errors import InputError, cut, nearest

MOST_IMAGES, MOST_SECONDS = 10**15, 3650 * 86_400
"""Of a budget: what no machine gets through in ten years, and these."""

LARGEST, SMALLEST = 1e6, 1e-12
"""Of numbers that float32 computes with: their squares and their products are far from its ends."""


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("input should be a number, not true or false")
    return value


def _not_tiny(value: float) -> float:
    if value < SMALLEST:
        raise ValueError(f"input should be {SMALLEST:g} or more")
    return value


Number = BeforeValidator(_number)
"""What begins a number's type: YAML's ``yes`` is no 1."""

Positive = Annotated[int, Number, Field(gt=0, le=10**9)]
Few = Annotated[int, Number, Field(gt=0, le=100)]
"""Blocks, or layers, of which a network has so many behind each other."""
Width = Annotated[int, Number, Field(gt=0, le=10**7)]
"""Of a layer; whether there is memory for it is another question."""
Steps = Annotated[int, Number, Field(gt=0, le=100_000)]
Fraction = Annotated[float, Number, Field(ge=0, le=1)]
AboveZero = Annotated[float, Number, Field(gt=0, le=LARGEST), AfterValidator(_not_tiny)]
AtLeastZero = Annotated[float, Number, Field(ge=0, le=LARGEST)]


class Part(BaseModel, extra="forbid", frozen=True, allow_inf_nan=False):
    """A part of a configuration: unknown keys and infinite values are refused, and values do not change."""

    naming: ClassVar[str | None] = None
    """The field that says which of several kinds this is: with another, the others start at their defaults."""

    def tiny(self: Kind) -> Kind:
        """Return a version that is built and trained in seconds, for trying everything out; by itself the same."""
        return self


Kind = TypeVar("Kind", bound=Part)


class Kinds(Mapping[str, type[Kind]]):
    """The kinds of a part, by name.

    Args:
        what: What one is called, in messages.
        key: The field in which each names itself, by its default.
    """

    def __init__(self, what: str, key: str = "kind") -> None:
        self.what, self.key = what, key
        self.known: dict[str, type[Kind]] = {}

    def add(self, kind: type[Kind]) -> type[Kind]:
        """Make a kind known; for use as a decorator."""
        self.known[kind.model_fields[self.key].default] = kind
        return kind

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in the order in which the kinds were added."""
        return iter(self.known)

    def __len__(self) -> int:
        """How many kinds there are."""
        return len(self.known)

    def __contains__(self, name: object) -> bool:
        """Whether there is a kind of this name."""
        return name in self.known

    def __getitem__(self, name: object) -> type[Kind]:
        """Return a kind by its name.

        Raises:
            InputError: If there is none of that name.
        """
        if not isinstance(name, str) or name not in self.known:
            known = ", ".join(self.known)
            raise InputError(
                f"no {self.what} is called {name!r}{nearest(str(name), [*self.known])} (there are {known})"
            )
        return self.known[name]

    def read(self, value: Any) -> Any:
        """Return the part that plain values describe: a mapping that names its kind, or a kind's name alone."""
        if isinstance(value, str):
            value = {self.key: value}
        if not isinstance(value, dict):
            return value
        if self.key not in value:
            raise ValueError(f"the {self.what} has no {self.key}")
        return self[value[self.key]].model_validate(value)


def checked(part: type[Kind], values: Any) -> Kind:
    """Return the part of a configuration that plain values describe.

    Raises:
        InputError: Naming the first key whose value is wrong.
    """
    try:
        return part.model_validate(values)
    except ValidationError as error:
        raise misfit(error) from None


def misfit(error: ValidationError, within: str = "") -> InputError:
    """Return what tells a user the first thing that is wrong with values, which lie ``within`` this key."""
    first = error.errors()[0]
    key = ".".join(str(place) for place in ((within,) if within else ()) + first["loc"])
    if isinstance(first["input"], dict):
        of = f"The settings of {key} do" if key else "These settings do"
        return InputError(f"{of} not fit: {reason(error)}")
    return cannot_be(key, first["input"], error)


def cannot_be(key: str, value: object, error: ValidationError) -> InputError:
    """Return what tells a user that a setting cannot have a value, of which a long one is cut short."""
    return InputError(f"The setting {key} cannot be {cut(repr(value))}: {reason(error)}")


def reason(error: ValidationError) -> str:
    """Return what is wrong with the first wrong value."""
    message: str = error.errors()[0]["msg"]
    return (message[0].lower() + message[1:]).removeprefix("value error, ")
