"""Scenes in words, and back."""

from __future__ import annotations

from collections import Counter

import pytest

from unstir.data.shapes import Scene, Shape, Stated, caption, parse
from unstir.data.shapes.captions import described
from unstir.errors import InputError


def test_what_captions_say_is_true_and_is_read_back(trained: list[Scene], unseen: list[Scene]) -> None:
    for i, one in [*enumerate(trained), *enumerate(unseen)]:
        text = caption(one, i)
        said = parse(text)
        assert said.background == (one.background if one.background in text else None)
        assert {*said.shapes} == {shape.place for shape in one.shapes}
        for shape in one.shapes:
            true, stated = described(shape), said.shapes[shape.place]
            assert stated.items() <= true.items() and stated.keys() >= {"kind", "colour"}
            # A word is in the caption where the attribute is stated, and nowhere else.
            assert all((true[name] in text) or name not in stated for name in true)
            alone = len(one.shapes) == 1
            assert not alone or all((true[name] in text.split()) == (name in stated) for name in true)


def test_a_scene_is_put_into_many_words() -> None:
    shapes = (
        Shape("star", "orange", "large", "plain", "top left", 0),
        Shape("heart", "cyan", "small", "striped", "bottom left", 0),
    )
    one = Scene(shapes, "beige")
    texts = [caption(one, i) for i in range(4000)]
    assert len({*texts}) > 300 and texts[7] == caption(one, 7)
    named = Counter(name for text in texts for name in ("large", "plain", "beige") if name in text)
    assert all(abs(count / 4000 - 0.75) < 0.03 for count in named.values())
    for text in (
        "there is a large plain orange star at the top left and a small striped cyan heart at the bottom left",
        "on a beige background, orange star top left and cyan heart bottom left",
        "a picture of an orange plain large star top left and a cyan striped small heart bottom left on beige",
    ):
        assert text in texts
    assert not any(" a orange" in text or " an cyan" in text for text in texts)


def test_own_captions_are_read_word_by_word() -> None:
    said = parse("On white: ".replace(":", ",") + "a Large red circle in the bottom right corner.")
    assert said == Stated({"bottom right": {"kind": "circle", "colour": "red", "size": "large"}}, "white")
    said = parse("a heart in pink on black in the middle")
    assert said == Stated({"middle": {"kind": "heart", "colour": "pink"}}, "black")
    said = parse("blue cross top left and blue cross top right")  # alike, and each in its place
    assert said.shapes["top left"] == said.shapes["top right"] and said.background is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names no shape"),
        ("on a white background", "names no shape"),
        ("a red dog in the middle", "the word 'dog'"),
        ("a red circle", "must give each of its shapes a place"),
        ("a red circle at the top", "must give each of its shapes a place"),
        ("a red circle at the left", "must give each of its shapes a place"),
        ("a red circle left top", "both 'left' and 'top'"),
        ("a circle in the middle", "a colour"),
        ("something", "the word 'something'"),
        ("red in the middle", "a kind"),
        ("a red blue circle in the middle", "both 'red' and 'blue'"),
        ("a red circle in the middle on white on black", "both 'white' and 'black'"),
        ("a red circle top left on white and a blue star top right on black", "both 'white' and 'black'"),
        ("a red circle in the middle and a blue star in the middle", "two shapes at 'middle'"),
    ],
)
def test_other_captions_are_refused(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse(text)
