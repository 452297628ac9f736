"""What a model is told when it draws is checked before anything is drawn."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from unstir.config import checked
from unstir.errors import InputError
from unstir.models.config import systems
from unstir.models.drawing import check_told
from unstir.networks.told import Told

KNOWN = {
    "label": Told(kind="classes", classes=("a", "b")),
    "size": Told(kind="numbers", width=2),
    "kind": Told(kind="classes", classes=("small", "large")),
    "seen": Told(kind="embedding", width=5),
    "words": Told(kind="embedding", width=5, socket="tokens"),
    "sketch": Told(kind="picture", width=3),
    "caption": Told(kind="text", encoder="any", width=5, length=4),
    "gist": Told(kind="text", encoder="any", width=5, column="caption", socket="vector"),
}


@pytest.mark.parametrize("rows", [1, 4, 9])
def test_values_for_all_images_or_for_each_are_taken(rows: int) -> None:
    told = {
        "size": torch.zeros(rows, 2),
        "kind": torch.ones(rows, dtype=torch.int64),
        "seen": torch.zeros(rows, 5),
        "words": torch.zeros(rows, 7, 5),
        "sketch": torch.zeros(rows, 3, 8, 6),
        "caption": torch.zeros(rows, 6, 5),
        "gist": torch.zeros(rows, 5),
    }
    check_told(KNOWN, told, 4)
    check_told(KNOWN, {"words": torch.zeros(rows, 5)}, 4)


@pytest.mark.parametrize(
    ("name", "value", "shapes"),
    [
        ("size", torch.zeros(2), "(N, 2)"),
        ("size", torch.zeros(4, 1), "(N, 2)"),
        ("size", torch.zeros(3, 2), "(N, 2)"),
        ("size", torch.zeros(0, 2), "(N, 2)"),
        ("size", torch.zeros(4, 7, 2), "(N, 2)"),
        ("size", 3.0, "(N, 2)"),
        ("kind", torch.zeros(4, 1, dtype=torch.int64), "(N)"),
        ("kind", torch.tensor(1), "(N)"),
        ("kind", ["small"], "(N)"),
        ("seen", torch.zeros(4, 7, 5), "(N, 5)"),
        ("words", torch.zeros(4, 7, 4), "(N, 5) or (N, L, 5)"),
        ("sketch", torch.zeros(4, 1, 8, 6), "(N, 3, H, W)"),
        ("caption", torch.zeros(4, 5), "(N, L, 5)"),
        ("gist", ["a red star"] * 4, "(N, 5)"),
    ],
)
def test_values_of_another_shape_are_refused(name: str, value: Tensor, shapes: str) -> None:
    said = f"This model is told '{name}' as a tensor of {shapes}, N being 1 or at least 4, not "
    with pytest.raises(InputError, match=re.escape(said)):
        check_told(KNOWN, {name: value}, 4)


@pytest.mark.parametrize("value", [torch.tensor([0, 2]), torch.tensor([-1, 0]), torch.tensor([0.0, 1.0])])
def test_classes_that_there_are_not_are_refused(value: Tensor) -> None:
    with pytest.raises(InputError, match=re.escape("told 'kind' by numbers of classes (0 small, 1 large)")):
        check_told(KNOWN, {"kind": value}, 2)


@pytest.mark.parametrize("name", ["label", "age"])
def test_names_that_it_is_not_told_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"told no '{name}' .beside its label it is told size, kind, seen"):
        check_told(KNOWN, {name: torch.tensor([0])}, 1)


@pytest.mark.parametrize("name", ["a.b", ""])
@pytest.mark.parametrize("system", ["denoiser", "gan"])
def test_names_have_no_dots(system: str, name: str) -> None:
    with pytest.raises(InputError, match=f"what is told cannot be called '{name}': it needs a name without dots"):
        checked(systems[system], {"told": {name: {"kind": "classes"}}})
