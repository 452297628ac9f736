"""What is written is what a model is told, and what cannot be told is refused in a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from unstir.errors import InputError
from unstir.models.drawing import check_told
from unstir.models.written import Written, read, split, warning
from unstir.networks.told import Told

CLASSES = ("1", "0", "fish, small", " blue", "red")
TOLD = {
    "label": Told(kind="classes", classes=("a", "b")),
    "colour": Told(kind="classes", classes=CLASSES),
    "angle": Told(kind="numbers", width=1, mean=(45.0,), std=(2.0,)),
    "place": Told(kind="numbers", width=2, mean=(0.0, 100.0), std=(1.0, 5.0)),
    "a=b": Told(kind="numbers", width=1),
    "sketch": Told(kind="picture", width=3),
    "seen": Told(kind="embedding", width=5),
    "flow": Told(kind="picture", width=2),
}


def picture(path: Path, channels: int) -> np.ndarray:
    """Stand in for a decoder: all pixels are the length of the name."""
    return np.full((channels, 2, 3), len(path.name), dtype=np.uint8)


def told(text: str) -> Written:
    return read(TOLD, text, picture)


@pytest.mark.parametrize(
    ("text", "values", "texts"),
    [
        ("colour=red", (4,), ("red",)),
        ("colour=0", (1,), ("0",)),  # a name comes before a number
        ("colour=1,2", (0, 2), ("1", "fish, small")),
        ("colour=fish, small", (2,), ("fish, small",)),
        ("colour=red, fish, small,0", (4, 2, 1), ("red", "fish, small", "0")),
        ("colour= blue,red", (3, 4), (" blue", "red")),
        ("label=b,a", (1, 0), ("b", "a")),
        ("angle=30", ((30.0,),), ("30",)),
        ("angle= -3.5,1e2 ", ((-3.5,), (100.0,)), ("-3.5", "1e2")),
        ("place=0.5:-2,3:4", ((0.5, -2.0), (3.0, 4.0)), ("0.5:-2", "3:4")),
        ("a=b=7", ((7.0,),), ("7",)),
    ],
)
def test_values_are_read(text: str, values: tuple[object, ...], texts: tuple[str, ...]) -> None:
    found = told(text)
    assert found.name == text.rpartition("=")[0]
    assert (found.values, found.texts) == (values, texts)


def test_what_is_read_can_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x,y.png").touch()
    written = [told(t) for t in ("colour=red,0", "angle=1,2", "place=1:2,3:4", "sketch=ab.png,abcde", "a=b=3")]
    tensors = {one.name: one.tensor([1, 0, 1] if len(one.values) > 1 else [0]) for one in written}
    check_told(TOLD, tensors, 3)
    assert tensors["colour"].tolist() == [1, 4, 1]
    assert tensors["angle"].tolist() == [[2.0], [1.0], [2.0]]
    assert tensors["place"].tolist() == [[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]
    torch.testing.assert_close(tensors["sketch"][:, 0, 0, 0], torch.tensor([5, 6, 5]) / 127.5 - 1)
    assert tensors["sketch"].shape == (3, 3, 2, 3)
    assert told("sketch=x,y.png").texts == ("x,y",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("angle", "A condition is written NAME=VALUE, not 'angle'"),
        ("angel=3", "This model is told no 'angel'; did you mean 'angle'? (it is told label, colour, "),
        ("=3", "This model is told no ''"),
        ("colour=rde", "No colour is called 'rde'; did you mean 'red'? (there are 1, 0, "),
        ("colour=5", "Colour 5 is out of range: the model knows 5 classes, 0 to 4"),
        ("colour=-1", "Colour -1 is out of range"),
        ("colour=", "'colour' takes a value or several with commas between them, not ''"),
        ("angle=1,,2", "'angle' takes a value or several with commas between them, not '1,,2'"),
        ("angle=big", "'angle' is a number, such as 45, not 'big'"),
        ("angle=1:2", "'angle' is a number, such as 45, not '1:2'"),
        ("angle=nan", "not 'nan'"),
        ("angle=1e39", "not '1e39'"),
        ("place=3", "'place' is 2 numbers with colons between them, such as 0:100, not '3'"),
        ("place=1:2:3", "not '1:2:3'"),
        ("seen=0.1", "an embedding and cannot be written: tell it in Python, run.sample(told={'seen': ...})"),
        ("flow=x.png", "'flow' is a picture of 2 channels and cannot be written"),
    ],
)
def test_what_cannot_be_told_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        told(text)


def test_what_is_far_from_the_data_is_said() -> None:
    for text in ("angle=25.1,64.9", "place=9.9:149", "colour=red", "a=b=1e9"):
        assert warning(TOLD, told(text)) == "", text
    said = warning(TOLD, told("angle=24.9,45,900"))
    assert said == (
        "Far from all that the model was trained on: angle 24.9, 900, where 45 (give or take 2) is usual"
    )
    assert "place 0:151, where 0 (give or take 1):100 (give or take 5)" in warning(TOLD, told("place=0:151"))


def test_long_rows_are_split_at_once() -> None:
    assert len(split("1," * 100_000 + "1", CLASSES)) == 100_001
