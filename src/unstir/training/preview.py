"""The fixed-seed pictures drawn along a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from unstir.training.config import Config
from unstir.training.folder import whole_file
from unstir.training.run import Run

SHARE = 0.03
"""The part of a budget in seconds that one picture may take."""


def draw_picture(run: Run, path: Path, options: dict[str, Any]) -> Path:
    """Draw images from seeds 0, 1, ... in one picture, and return its path.

    Args:
        run: The model.
        path: Where the picture goes.
        options: How to sample, where not as the run says.

    Raises:
        InputError: If the disk is full.
    """
    images = run.sample(picture_size(run.config), **options)
    with whole_file(path) as partial:
        images.save(partial)
    return path


def picture_size(config: Config) -> int:
    """Return how many images a picture shows: eight rows, or two where they are large."""
    assert config.images is not None
    _, height, width = config.images.shape
    classes = len(config.classes)
    return (classes if 1 < classes <= 20 else 8) * (8 if height * width <= 64 * 64 else 2)


def affordable(run: Run) -> dict[str, Any]:
    """Return how to sample so that a picture takes a small part of a budget in seconds; {} is as the run says.

    It is measured: the second of two walks of a single step.
    """
    seconds, sampling = run.config.training.seconds, run.config.sampling
    if seconds is None:
        return {}
    one_step: dict[str, Any] = {"sampler": "ddim", "spacing": "trailing", "steps": 1}
    run.sample(picture_size(run.config), **one_step)
    began = time.monotonic()
    run.sample(picture_size(run.config), **one_step)
    steps = int(SHARE * seconds / (time.monotonic() - began))
    if sampling.steps <= max(5, steps):
        return {}
    return {"sampler": "ddim", "eta": 0.0, "spacing": "trailing", "steps": max(5, steps)}
