"""The fixed-seed pictures drawn along a run, by what its model can be asked for."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unstir.data.dataset import ImageData
from unstir.files import whole_file
from unstir.models.config import ModelConfig
from unstir.models.film import titled, within, write_film
from unstir.models.model import Model
from unstir.models.samples import Samples
from unstir.networks.told import DEGRADED
from unstir.training.run_folder import RunFolder

SHARE, LAST_SHARE = 0.005, 0.06
"""The parts of a budget in seconds that a picture along the way and the last one may take."""

LEAST_EVALUATIONS = 5

FRAMES, LEAST_FRAMES, LARGEST = 100, 3, 1000
"""How many frames the film of a run has at most and at least, and pixels of the longer side of each."""


class Pictures(Protocol):
    """What draws a run's pictures."""

    def draw(self, model: Model, path: Path, last: bool = False) -> Path | None:
        """Draw one picture, the ``last`` with more care, and return its path; None if there is nothing to see."""
        ...

    def last_seconds(self) -> float:
        """Return about how long the last picture takes, or 0 where all take the same."""
        ...


def pictures(config: ModelConfig, seconds: float | None, held_out: ImageData) -> Pictures:
    """Return what draws the pictures of a run: samples, reconstructions of a codec, or images that are cleaned.

    Args:
        config: The model's, which has seen its data.
        seconds: The budget, if it is in seconds.
        held_out: The held-out images.
    """
    if "draw" in config.verbs and len(config.image_shape) == 3:
        return Drawn(config, seconds, held_out)
    if config.codes is not None:
        return Reconstructions(held_out)
    return Restorations(held_out) if "clean" in config.verbs else Nothing()


class Nothing:
    """For a model that has nothing to show."""

    def draw(self, model: Model, path: Path, last: bool = False) -> None:
        """Draw nothing."""

    def last_seconds(self) -> float:
        """Return 0."""
        return 0.0


class Restorations:
    """Three rows of held-out images: clean, corrupted, restored; always the same with the same noise.

    Args:
        held_out: The held-out images.
    """

    def __init__(self, held_out: ImageData) -> None:
        self.columns = min(16 if held_out.shape[2] <= 32 else 8, len(held_out))
        self.clean, _ = held_out.examples(np.arange(self.columns))

    def draw(self, model: Model, path: Path, last: bool = False) -> Path:
        """Draw the picture and return its path.

        Raises:
            InputError: If the disk is full.
        """
        corrupted = model.corrupted(self.clean)
        rows = torch.cat([self.clean, corrupted, model.clean(corrupted).tensor])
        with whole_file(path) as partial:
            Samples(rows).grid(self.columns).save(partial)
        return path

    def last_seconds(self) -> float:
        """Return 0: the last picture is as quick as the others."""
        return 0.0


class Reconstructions:
    """Rows of held-out images in twos: as they are, and as they come back from their codes.

    Args:
        held_out: The held-out images.
    """

    def __init__(self, held_out: ImageData) -> None:
        self.columns = min(16 if held_out.shape[2] <= 64 else 8, len(held_out))
        self.rows = max(1, min(4, len(held_out) // self.columns))
        self.images, _ = held_out.examples(np.arange(self.rows * self.columns))

    def draw(self, model: Model, path: Path, last: bool = False) -> Path:
        """Draw the picture and return its path.

        Raises:
            InputError: If the disk is full.
        """
        with whole_file(path) as partial:
            reconstructed(model, self.images, self.columns).save(partial)
        return path

    def last_seconds(self) -> float:
        """Return 0: the last picture is as quick as the others."""
        return 0.0


class Drawn:
    """Draws samples, asking the network as often as a budget in seconds bears; restored ones below their truth.

    Args:
        config: The model's.
        seconds: The budget, if it is in seconds.
        held_out: The held-out images, of which the model is told what it is not told by a label.
    """

    def __init__(self, config: ModelConfig, seconds: float | None, held_out: ImageData) -> None:
        self.seconds = seconds
        self.size = picture_size(config)
        self.shown = held_out.examples(np.arange(self.size) % len(held_out), names=config.reads)
        self.restores = "edit" in config.verbs
        self.own = config.drawing({}).evaluations
        self.evaluation_seconds = 0.0

    def draw(self, model: Model, path: Path, last: bool = False) -> Path:
        """Draw samples from seeds 0, 1, ... in one picture, and return its path.

        Raises:
            InputError: If the disk is full.
        """
        images, given = self.shown
        condition = model.condition(given, images)
        told = {} if condition is None else {name: value for name, (value, _) in condition.parts.items()}
        own = told.pop("label", None)  # the classes come in turn, but of what is restored
        label = {"label": own.tolist()} if self.restores and own is not None else {}
        if self.seconds and not self.evaluation_seconds:
            model.sample(self.size, told=told, **label, **model.quick(1))
            began = time.monotonic()
            model.sample(self.size, told=told, **label, **model.quick(1))
            self.evaluation_seconds = time.monotonic() - began
        drawn = model.sample(self.size, told=told, **label, **model.quick(self.evaluations(last)))
        drawn.tensor.nan_to_num_()  # as fp16 may draw early: no reason to stop training
        if not self.restores:
            return drawn.save(path)
        with whole_file(path) as partial:
            _restored(images, told[DEGRADED], drawn.tensor).save(partial)
        return path

    def evaluations(self, last: bool) -> int:
        """Return how often a picture may ask the network: as often as the model's own drawing does, or less."""
        if self.seconds is None or not self.evaluation_seconds:
            return self.own
        share = LAST_SHARE if last else SHARE
        return min(self.own, max(LEAST_EVALUATIONS, int(share * self.seconds / self.evaluation_seconds)))

    def last_seconds(self) -> float:
        """Return about how long the last picture takes."""
        return self.evaluations(last=True) * self.evaluation_seconds


def make_film(folder: RunFolder) -> None:
    """Make the film of a run anew, of the pictures drawn so far.

    What cannot be read is left out, and what is of another size than the newest, as where another version drew it.

    Raises:
        InputError: If the disk is full.
    """
    drawn, frames = folder.pictures(), []
    for i in np.linspace(0, len(drawn) - 1, min(FRAMES, len(drawn))).round().astype(int).tolist():
        images, path = drawn[i]
        with suppress(OSError), Image.open(path) as picture:
            frames.append(titled(within(picture, LARGEST), f"after {images:,} images"))
    frames = [frame for frame in frames if frame.size == frames[-1].size]
    if len(frames) >= LEAST_FRAMES:
        with whole_file(folder.film) as partial:
            write_film(frames, partial, "WEBP")


def reconstructed(model: Model, images: Tensor, across: int) -> Image.Image:
    """Return a picture of rows of images in twos: as they are, and decoded from their codes.

    Args:
        model: A codec.
        images: (N, C, H, W), of which N is a multiple of ``across``.
        across: How many are in a row.
    """
    decoded = model.decode(model.encode(images), range(len(images)))  # type: ignore[operator]
    twos = torch.stack([images, decoded.nan_to_num_()])
    return Samples(torch.cat([rows.flatten(0, 1) for rows in twos.split(across, dim=1)])).grid(across)


def _restored(images: Tensor, degraded: Tensor, drawn: Tensor) -> Image.Image:
    """Return a picture of rows of images in threes: as they are, as is told, (N, C + 1, H, W), and restored."""
    across = min(16, len(drawn))
    threes = torch.stack([images, degraded[:, :-1], drawn])[:, : len(drawn) // across * across]
    return Samples(torch.cat([rows.flatten(0, 1) for rows in threes.split(across, dim=1)])).grid(across)


def picture_size(config: ModelConfig) -> int:
    """Return how many images a picture shows: eight rows, or two where they are large."""
    _, height, width = config.image_shape
    classes = len(config.classes)
    return (classes if 1 < classes <= 20 else 8) * (8 if height * width <= 64 * 64 else 2)
