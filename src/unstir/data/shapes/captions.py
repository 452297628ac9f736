"""Scenes in words, and what words say of a scene, exactly.

A caption names kind, colour and place of every shape. Whether it names sizes, textures and the background is up to
its wording, and what it does not name it leaves open. No word has two meanings, so captions are read back word by
word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from unstir.data.shapes.choices import Choices
from unstir.data.shapes.scenes import BACKGROUNDS, COLOURS, KINDS, PLACES, SIZES, TEXTURES, Scene, Shape
from unstir.errors import InputError

_ORDERS = (
    ("size", "texture", "colour"),
    ("size", "colour", "texture"),
    ("texture", "size", "colour"),
    ("colour", "texture", "size"),
)

_MEANINGS = {
    word: (attribute, word)
    for attribute, words in {
        "kind": KINDS,
        "colour": COLOURS,
        "size": SIZES,
        "texture": TEXTURES,
        "place": ("top", "bottom", "left", "right", "middle"),
        "background": BACKGROUNDS,
    }.items()
    for word in words
}

_FILLERS = re.compile("a|an|the|there|is|picture|of|image|with|in|at|on|corner|background")


@dataclass(frozen=True)
class Stated:
    """What a caption says of its picture, and all that it says.

    Attributes:
        shapes: By place, each shape's ``kind`` and ``colour``, and where it is named its ``size`` and
            ``texture``. It says that elsewhere there are none.
        background: None where it is not named.
    """

    shapes: dict[str, dict[str, str]]
    background: str | None


def caption(scene: Scene, i: int) -> str:
    """Return a caption of a scene, in the wording that ``i`` chooses.

    It names sizes, textures and the background three times out of four each.
    """
    choices = Choices("caption", i)
    named = {name for name in ("size", "texture", "background") if choices.of((True, True, True, False))}
    opening = choices.of(("", "there is ", "a picture of ", "an image with "))
    article = bool(opening) or choices.of((True, False))
    order = [name for name in choices.of(_ORDERS) if name == "colour" or name in named]
    where = choices.of(("in the {}", "at the {}", "{}"))
    ground = choices.of(("on a {} background", "on {}"))
    first = not opening and choices.of((True, False))
    phrases = []
    for shape in scene.shapes:
        words = " ".join([*(getattr(shape, name) for name in order), shape.kind])
        if article:
            words = f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
        place = "in the middle" if shape.place == "middle" else where.format(shape.place)
        phrases.append(f"{words} {place}")
    *others, last = phrases
    text = f"{choices.of((', ', ' and ')).join(others)} and {last}" if others else last
    if "background" not in named:
        return opening + text
    background = ground.format(scene.background)
    return f"{background}, {text}" if first else f"{opening}{text} {background}"


def parse(caption: str) -> Stated:
    """Return what a caption says: one of :func:`caption`, or another of the same words.

    Shapes are told apart by commas and by "and".

    Raises:
        InputError: If a word is unknown, something is said twice, or a shape lacks its kind, colour or place.
    """
    shapes: dict[str, dict[str, str]] = {}
    background = None
    for part in re.split(r",|\band\b", caption.lower().strip().rstrip(".")):
        said: dict[str, str] = {}
        for attribute, word in _meanings(part, caption):
            if attribute == "place" and said.get("place") in ("top", "bottom") and word in ("left", "right"):
                said["place"] += f" {word}"
            elif attribute in said:
                raise InputError(
                    f"the caption '{caption}' says both '{said[attribute]}' and '{word}' of one thing."
                )
            else:
                said[attribute] = word
        ground = said.pop("background", background)
        if background not in (None, ground):
            raise InputError(f"the caption '{caption}' says both '{background}' and '{ground}' of one thing.")
        background = ground
        if not said:
            continue
        lacking = next((name for name in ("kind", "colour", "place") if name not in said), None)
        place = said.pop("place", "")
        if lacking or place not in PLACES:
            known = f"a place, one of {', '.join(PLACES)}" if lacking in (None, "place") else f"a {lacking}"
            raise InputError(f"the caption '{caption}' must give each of its shapes {known}.")
        if place in shapes:
            raise InputError(f"the caption '{caption}' puts two shapes at '{place}'; each has its own place.")
        shapes[place] = said
    if not shapes:
        raise InputError(f"the caption '{caption}' names no shape, such as 'a red circle in the middle'.")
    return Stated(shapes, background)


def _meanings(part: str, caption: str) -> Iterator[tuple[str, str]]:
    for word in part.split():
        if word in _MEANINGS:
            yield _MEANINGS[word]
        elif not _FILLERS.fullmatch(word):
            raise InputError(f"the caption '{caption}' holds the word '{word}', which no caption of shapes has.")


def described(shape: Shape) -> dict[str, str]:
    """Return what a caption may name of a shape but its place: kind, colour, size and texture."""
    return {name: getattr(shape, name) for name in ("kind", "colour", "size", "texture")}
