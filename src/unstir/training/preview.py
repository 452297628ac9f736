"""The fixed-seed pictures drawn along a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from unstir.data.dataset import ImageData
from unstir.diffusion.corruption import corruptions
from unstir.files import whole_file
from unstir.sampling import SeededNoise
from unstir.sampling.images import Images
from unstir.training.config import Config
from unstir.training.run import Run

SHARE, LAST_SHARE = 0.01, 0.06
"""The parts of a budget in seconds that a picture along the way and the last one may take."""

LEAST_STEPS = 5


class Pictures(Protocol):
    """What draws a run's pictures."""

    def draw(self, run: Run, path: Path, last: bool = False) -> Path:
        """Draw one picture, the ``last`` with more care, and return its path."""
        ...

    def last_seconds(self) -> float:
        """Return about how long the last picture takes, or 0 where all take the same."""
        ...


def pictures(config: Config, held_out: ImageData) -> Pictures:
    """Return what draws the pictures of a run: samples, or restored images for a denoising autoencoder."""
    return Restorations(config, held_out) if config.diffusion.one_level else Samples(config)


class Restorations:
    """Three rows of held-out images: clean, corrupted, restored; always the same with the same noise.

    Args:
        config: The run's configuration.
        held_out: Its held-out images.
    """

    def __init__(self, config: Config, held_out: ImageData) -> None:
        self.columns = min(16 if held_out.shape[2] <= 32 else 8, len(held_out))
        self.clean, _ = held_out.batch(np.arange(self.columns))
        self.corrupt = corruptions[config.diffusion.corruption]

    def draw(self, run: Run, path: Path, last: bool = False) -> Path:
        """Draw the picture and return its path.

        Raises:
            InputError: If the disk is full.
        """
        noise = SeededNoise(range(self.columns))(self.clean)
        corrupted = self.corrupt(self.clean, run.cleaning_level(None), noise)
        rows = torch.cat([self.clean, corrupted, run.clean(corrupted).tensor])
        with whole_file(path) as partial:
            Images(rows).grid(self.columns).save(partial)
        return path

    def last_seconds(self) -> float:
        """Return 0: the last picture is as quick as the others."""
        return 0.0


class Samples:
    """Draws samples, asking the network as often as a budget in seconds bears.

    Args:
        config: The run's configuration.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.step_seconds = 0.0

    def draw(self, run: Run, path: Path, last: bool = False) -> Path:
        """Draw images from seeds 0, 1, ... in one picture, and return its path.

        Raises:
            InputError: If the disk is full.
        """
        size = picture_size(self.config)
        if self.config.training.seconds and not self.step_seconds:
            run.sample(size, **_few(1))
            began = time.monotonic()
            run.sample(size, **_few(1))
            self.step_seconds = time.monotonic() - began
        own, bearable = self.config.sampling, self.evaluations(last)
        few = {} if bearable == own.evaluations else _few(min(bearable, own.steps))
        return run.sample(size, **few).save(path)

    def evaluations(self, last: bool) -> int:
        """Return how often a picture may ask the network: as often as the run's own sampling does, or less."""
        seconds, own = self.config.training.seconds, self.config.sampling.evaluations
        if seconds is None or not self.step_seconds:
            return own
        share = LAST_SHARE if last else SHARE
        return min(own, max(LEAST_STEPS, int(share * seconds / self.step_seconds)))

    def last_seconds(self) -> float:
        """Return about how long the last picture takes."""
        return self.evaluations(last=True) * self.step_seconds


def picture_size(config: Config) -> int:
    """Return how many images a picture shows: eight rows, or two where they are large."""
    assert config.images is not None
    _, height, width = config.images.shape
    classes = len(config.classes)
    return (classes if 1 < classes <= 20 else 8) * (8 if height * width <= 64 * 64 else 2)


def _few(steps: int) -> dict[str, Any]:
    """Return how to sample well in few steps."""
    return {"sampler": "ddim", "eta": 0.0, "spacing": "trailing", "steps": steps}
