"""Whether pictures of scenes show what their captions say: the share of stated attributes that are right.

The pictures are read by a classifier of scenes (:mod:`unstir.models.scene_reader`). It is trained once, on scenes
made for it, of every pair of a kind and a colour, and kept in the cache. It reads at 32x32 pixels, in which every
attribute can be seen, so one reader serves all resolutions. What a caption leaves open may be anything, and counts
nowhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData, Splits
from unstir.data.shapes.captions import Stated, described, parse
from unstir.data.shapes.contents import VERSION as SCENES
from unstir.data.shapes.pictures import CENTRES, render
from unstir.data.shapes.scenes import BACKGROUNDS, COLOURS, KINDS, PLACES, SIZES, TEXTURES, Scene, scene
from unstir.errors import InputError, counted
from unstir.evaluation.ruler import kept, train_kept
from unstir.models.systems import SceneReaderConfig
from unstir.training.config import Config, TrainingConfig

if TYPE_CHECKING:
    from unstir.models.scene_reader import SceneReader

VERSION = 1
"""Of the reader and its training; whoever changes what it reads raises it."""

SIDE = 32
QUESTIONS = {"kind": ("nothing", *KINDS), "colour": COLOURS, "size": SIZES, "texture": TEXTURES}
ATTRIBUTES = ("count", "place", *QUESTIONS, "background")

TRAINED = 30_000
"""Scenes that the reader learns from."""

_SEED = 1  # scenes of other pictures than those that models are trained on and measured with


@dataclass
class Rightness:
    """How many of the statements of captions are right, summed over pictures.

    Attributes:
        stated: By attribute, how often captions state it.
        right: How often the picture shows it.
        pictures: How many there are.
        whole: In how many all that is stated is right.
    """

    stated: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    pictures: int = 0
    whole: int = 0

    def add(self, answers: Tensor, captions: Sequence[str]) -> None:
        """Compare what was read in pictures, int64 (N, A) as ``truth`` lays it out, with their captions.

        A ``place`` is right where there is any shape; ``count`` where as many places as were named have one.
        """
        for read, text in zip(answers.tolist(), captions, strict=True):
            said, shows = _statements(parse(text)), _seen(read)
            right = [shows.get(where) == what for where, what in said.items()]
            self.stated.update(attribute for _, attribute in said)
            self.right.update(attribute for (_, attribute), one in zip(said, right) if one)
            self.pictures += 1
            self.whole += all(right)

    def merge(self, other: Rightness) -> None:
        """Add what was counted of other pictures."""
        self.stated += other.stated
        self.right += other.right
        self.pictures += other.pictures
        self.whole += other.whole

    def shares(self) -> dict[str, float]:
        """Return what is right, as shares in [0, 1].

        Returns:
            Of each of ``ATTRIBUTES`` that is stated at all; ``attributes``, of all statements; and ``whole``, the
            share of pictures in which all that is stated is right.
        """
        each = {name: self.right[name] / self.stated[name] for name in ATTRIBUTES if self.stated[name]}
        return {
            **each,
            "attributes": self.right.total() / self.stated.total(),
            "whole": self.whole / self.pictures,
        }


def measure_attributes(images: Tensor, captions: Sequence[str]) -> dict[str, float]:
    """Return the share of what captions state that their images show: see :meth:`Rightness.shares`.

    Args:
        images: (N, 3, H, W) in [-1, 1], of any size; N at least 1.
        captions: N of them, in the words of the set ``shapes``.

    Raises:
        InputError: If there are not as many captions as images, or none; for a caption in other words, or images
            with other channels.
    """
    if len(images) != len(captions) or not len(captions):
        given = f"{counted(len(images), 'image')} and {counted(len(captions), 'caption')}"
        raise InputError(f"each image is measured against its caption, and there are {given}")
    for text in captions:
        parse(text)  # before a reader is trained
    rightness = Rightness()
    rightness.add(scene_reader().read(images), captions)
    return rightness.shares()


def scene_reader() -> SceneReader:
    """Return the reader of scenes from the cache, trained and kept there first if it is not."""
    return kept(f"scenes-{SCENES}-v{VERSION}", train_reader)  # type: ignore[return-value]


def train_reader(path: Path) -> None:
    """Train the reader of scenes and leave its model file at ``path``.

    A third of its scenes hold one of the pairs that others do not, so that it reads all pairs alike.
    """
    rows = range(TRAINED), range(TRAINED, TRAINED + 300)
    train, held_out = (_data([scene(i, _SEED, held_out=i % 3 == 0) for i in row]) for row in rows)
    train_kept(reader_config(), Splits(train, held_out), path)


def reader_config() -> Config:
    """Return how the reader of scenes is trained."""
    return Config(
        recipe="the reader of scenes",
        data=DataConfig(source="shapes", size=(SIDE, SIDE)),
        training=TrainingConfig(
            images=120_000, batch=128, learning_rate=3e-3, weight_decay=0.05, warmup=100, decay=0.8
        ),
        model=SceneReaderConfig(
            places={place: CENTRES[place] for place in PLACES}, questions=QUESTIONS, whole=BACKGROUNDS
        ),
    )


def truth(scenes: Sequence[Scene]) -> Tensor:
    """Return what a perfect reader answers of pictures of these scenes, int64 (N, A).

    At each of ``PLACES`` in turn the number of the answer to each of ``QUESTIONS``, -1 where there is none; last
    the background's.
    """
    rows = []
    for one in scenes:
        by_place = {shape.place: described(shape) for shape in one.shapes}
        row = []
        for place in PLACES:
            there = by_place.get(place, {"kind": "nothing"})
            row += [names.index(there[name]) if name in there else -1 for name, names in QUESTIONS.items()]
        rows.append([*row, BACKGROUNDS.index(one.background)])
    return torch.tensor(rows)


def _data(scenes: Sequence[Scene]) -> ImageData:
    pixels = np.stack([render(one, SIDE) for one in scenes])
    return ImageData.from_array(pixels, name="scenes", columns={"answers": truth(scenes).numpy()})


def _statements(stated: Stated) -> dict[tuple[str, str], object]:
    """All that a caption states, by what it is about and the attribute."""
    said: dict[tuple[str, str], object] = {("", "count"): len(stated.shapes)}
    for place, shape in stated.shapes.items():
        said[place, "place"] = True
        said |= {(place, name): value for name, value in shape.items()}
    if stated.background is not None:
        said["", "background"] = stated.background
    return said


def _seen(read: Sequence[int]) -> dict[tuple[str, str], object]:
    """What was read of one picture, in the form of ``_statements``."""
    answers, shows = iter(read), {}
    for place in PLACES:
        there = {
            name: (names[answer] if answer >= 0 else None)
            for (name, names), answer in zip(QUESTIONS.items(), answers)
        }
        shows |= {(place, name): value for name, value in there.items()}
        shows[place, "place"] = there["kind"] != "nothing"
    shows["", "count"] = sum(shows[place, "place"] for place in PLACES)
    shows["", "background"] = BACKGROUNDS[next(answers)]
    return shows
