"""What is in a scene: one to three shapes on a background, each in a place of its own.

Scene i is a pure function of i and a seed. Of the pairs of a kind and a colour some (``HELD_OUT``) are in no scene
for training, and in every held-out scene one shape is of such a pair. So it can be measured whether a model that
has seen circles and has seen red draws a red circle when it is told to.
"""

from __future__ import annotations

from dataclasses import dataclass

from unstir.data.shapes.choices import Choices

KINDS = ("circle", "square", "triangle", "cross", "star", "heart")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SIZES = ("small", "large")
TEXTURES = ("plain", "striped", "checkered")
CORNERS = ("top left", "top right", "bottom left", "bottom right")
PLACES = (*CORNERS, "middle")
BACKGROUNDS = ("black", "gray", "white", "beige")
TILT = 20
"""How far a shape is turned at most, in degrees, to either side."""

HELD_OUT = (
    ("circle", "red"),
    ("square", "blue"),
    ("triangle", "green"),
    ("cross", "yellow"),
    ("star", "purple"),
    ("heart", "orange"),
)
"""Pairs of a kind and a colour: each kind, and each of these colours, in one."""

_SEEN = tuple((kind, tuple(c for c in COLOURS if (kind, c) not in HELD_OUT)) for kind in KINDS)


@dataclass(frozen=True)
class Shape:
    """One shape.

    Attributes:
        kind: Out of ``KINDS``.
        colour: Out of ``COLOURS``.
        size: Out of ``SIZES``.
        texture: Out of ``TEXTURES``: its pattern, in its own colour and a darker one.
        place: Out of ``PLACES``.
        angle: By which it is turned clockwise, whole degrees from -``TILT`` to ``TILT``; a plain circle does not
            show it.
    """

    kind: str
    colour: str
    size: str
    texture: str
    place: str
    angle: int


@dataclass(frozen=True)
class Scene:
    """A picture's content.

    Attributes:
        shapes: One to three, in the order in which they are named. One alone may lie in the middle; several lie
            in corners, each in another.
        background: Out of ``BACKGROUNDS``.
    """

    shapes: tuple[Shape, ...]
    background: str


def scene(i: int, seed: int = 0, held_out: bool = False) -> Scene:
    """Return scene i of those for training, or of the held-out ones.

    Each value is independent of the others and as likely as its alternatives, but for places, which differ, and
    for ``HELD_OUT``: in training a shape's colour is among those that its kind may have; of a held-out scene
    exactly one shape, any, is of a pair that was held out.

    Args:
        i: At least 0, without end.
        seed: Of another row of scenes.
        held_out: Which of the two.
    """
    choices = Choices("scene", i, seed, held_out)
    count = choices.of((1, 2, 3))
    left = list(PLACES if count == 1 else CORNERS)
    odd = choices.of(range(count)) if held_out else None
    shapes = []
    for number in range(count):
        kind, colours = choices.of(_SEEN)
        colour = choices.of(colours)
        if number == odd:
            kind, colour = choices.of(HELD_OUT)
        size, texture = choices.of(SIZES), choices.of(TEXTURES)
        place = choices.of(left)
        left.remove(place)
        shapes.append(Shape(kind, colour, size, texture, place, choices.of(range(-TILT, TILT + 1))))
    return Scene(tuple(shapes), choices.of(BACKGROUNDS))
