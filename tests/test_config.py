from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BeforeValidator, SerializeAsAny

from unstir.config import Kinds, Part, checked
from unstir.errors import InputError


class Shape(Part):
    kind: str


shapes: Kinds[Shape] = Kinds("shape")


@shapes.add
class Circle(Shape):
    kind: Literal["circle"] = "circle"
    radius: float = 1.0


class Drawing(Part):
    shape: Annotated[SerializeAsAny[Shape], BeforeValidator(shapes.read)] = Circle()


def test_a_kind_is_read_by_its_name_or_its_values_and_written_whole() -> None:
    assert checked(Drawing, {"shape": "circle"}).shape == Circle()
    drawing = checked(Drawing, {"shape": {"kind": "circle", "radius": 2}})
    assert drawing.model_dump() == {"shape": {"kind": "circle", "radius": 2.0}}
    assert checked(Drawing, drawing.model_dump()) == drawing


def test_kinds_are_a_mapping_of_what_has_been_added() -> None:
    assert list(shapes) == ["circle"] and "circle" in shapes and "square" not in shapes and len(shapes) == 1
    assert dict(shapes) == {"circle": Circle}

    @shapes.add
    class Square(Shape):
        kind: Literal["square"] = "square"
        side: float = 3.0

    assert checked(Drawing, {"shape": "square"}).shape == Square()  # also where fields were made before
    del shapes.known["square"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"shape": "circl"},
            r"The setting shape cannot be 'circl': no shape is called 'circl'; did you mean 'circle'",
        ),
        ({"shape": {"kind": "x"}}, "The settings of shape do not fit: no shape is called 'x'"),
        ({"shape": {"radius": 1}}, "The settings of shape do not fit: the shape has no kind"),
        ({"shape": {"kind": "circle", "radius": "r"}}, "The setting shape.radius cannot be 'r': "),
        ({"shape": {"kind": "circle", "side": 1}}, "The setting shape.side cannot be 1: "),
        ({"shape": {"kind": "circle", "radius": float("inf")}}, "The setting shape.radius cannot be inf: "),
    ],
)
def test_what_is_wrong_is_named_by_its_whole_key(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        checked(Drawing, values)
