"""What is wrong with images is found in images alone; what is right with them raises no alarm."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData, Splits
from unstir.data.load import load
from unstir.doctor import data


def causes(train: ImageData, held_out: ImageData) -> list[str]:
    patient: Any = SimpleNamespace(splits=Splits(train, held_out), config=SimpleNamespace(told={"label": None}))
    return [finding.cause for finding in data.check(patient)]


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load(DataConfig(source="digits"))


def made(like: ImageData, pixels: np.ndarray | None = None, labels: np.ndarray | None = None) -> ImageData:
    own = like.pixels if pixels is None else pixels
    return ImageData.from_array(own, like.labels if labels is None else labels, like.classes, name="made")


def test_good_images_are_good(digits: Splits) -> None:
    assert causes(digits.train, digits.held_out) == []


def test_each_fault_has_its_name(digits: Splits) -> None:
    train, held = digits.train, digits.held_out
    random = np.random.default_rng(0)
    assert causes(made(train, (train.pixels > 127).astype(np.uint8)), held)[0] == "range"
    assert causes(made(train, 100 + train.pixels // 8), held)[0] == "range"
    assert "labels" in causes(made(train, labels=random.permutation(train.labels)), held)
    few = ImageData.from_array(train.pixels[:50], train.labels[:50], train.classes)
    assert causes(few, held) == ["few images"]
    repeated = random.integers(0, 400, len(train))
    assert "duplicates" in causes(made(train, train.pixels[repeated], train.labels[repeated]), held)
    blank = train.pixels.copy()
    blank[::8] = 90
    assert "blank images" in causes(made(train, blank), held)
    without = train.labels != 3
    assert causes(made(train, train.pixels[without], train.labels[without]), held) == ["missing class"]
    without |= np.arange(len(train)) < 30  # some of it are left
    assert causes(made(train, train.pixels[without], train.labels[without]), held) == ["missing class"]


def photographs(n: int, seed: int) -> np.ndarray:
    """Pictures of a sky above a ground: smooth, bright where the sun is, and blue above."""
    random = np.random.default_rng(seed)
    sky = np.array([90, 140, 220]) + random.normal(0, 25, (n, 1))
    ground = np.array([120, 100, 60]) + random.normal(0, 25, (n, 1))
    height = np.linspace(0, 1, 16)[None, :, None, None]
    edge = random.uniform(0.3, 0.7, (n, 1, 1, 1))
    mix = 1 / (1 + np.exp(20 * (height - edge)))
    light = random.normal(0, 20, (n, 16, 16, 1)) + 80 * np.sin(6 * height + random.uniform(0, 6, (n, 1, 1, 1)))
    image = mix * sky[:, None, None] + (1 - mix) * ground[:, None, None] + light
    return image.clip(0, 255).astype(np.uint8).transpose(0, 3, 1, 2)


def test_red_and_blue_exchanged_in_half_of_the_photographs() -> None:
    pixels = photographs(1500, 0)
    held = ImageData.from_array(photographs(300, 1))
    assert causes(ImageData.from_array(pixels), held) == []
    half = pixels.copy()
    half[::2] = half[::2, ::-1]
    assert causes(ImageData.from_array(half), held) == ["channel order"]


def test_drawings_of_any_colour_are_no_photographs() -> None:
    random = np.random.default_rng(0)
    pixels = np.repeat(np.repeat(random.integers(0, 256, (1500, 3, 4, 4), dtype=np.uint8), 4, 2), 4, 3)
    assert "channel order" not in causes(ImageData.from_array(pixels), ImageData.from_array(pixels[:300]))
