"""The learned reverse process: from noise to images, and what the network believes of them on the way."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from unstir.diffusion import Condition, NoiseLevel
from unstir.evaluation.figures.strip import draw_strip
from unstir.models.config import CODEC, Labels, label_indices
from unstir.models.denoiser import DenoiserModel
from unstir.models.film import titled
from unstir.models.samples import Samples
from unstir.progress import tracked
from unstir.sampling.draw import walk

STAGES, FRAMES = 10, 60
"""How many stages a strip has, and how many frames a film has at most."""


class Stage(NamedTuple):
    """Where the walk stands: the level, the images x there, and the clean ones believed in, each (N, C, H, W)."""

    level: NoiseLevel
    x: Tensor
    x0: Tensor


def reverse_stages(
    run: DenoiserModel, n: int, count: int, label: Labels = None, seed: int = 0, progress: bool = False
) -> list[Stage]:
    """Return up to ``count`` stages of drawing ``n`` images as the run does, evenly over its steps.

    The first stage is pure noise, the last the finished images, which are those of ``run.sample``.

    Raises:
        InputError: For a label that the model does not know.
    """
    config = run.config.drawing({})
    labels = label_indices(run.config.classes, label, range(n))
    condition = None if labels is None else Condition.of({"label": torch.tensor(labels)})
    kept = set(np.linspace(0, config.steps, min(count, config.steps + 1)).round().astype(int).tolist())
    stages = []
    denoiser = run.lowered().denoiser
    with torch.no_grad(), run.in_precision:
        names, seeds = run.guided(condition), range(seed, seed + n)
        steps = walk(denoiser, run.config.samples.shape, seeds, condition, config, names=names)
        for step in tracked(steps, config.steps, "sampling", progress):
            # A prediction describes the very x it was made from: it and its level are a stage.
            if step.index - 1 in kept:
                at = step.prediction
                stages.append(Stage(at.level, at.level.noise(at.x0, at.eps), at.x0))
        stages.append(Stage(step.level, step.x, step.x))
        if CODEC in run.parts:
            stages = [Stage(at.level, *(run.codec.decode(one, seeds) for one in (at.x, at.x0))) for at in stages]
    return [Stage(at.level, at.x.cpu(), at.x0.cpu()) for at in stages]


def draw_reverse(stages: list[Stage]) -> Figure:
    """Return the stages as a strip: for each image a row of x_t, and under it a row of the predicted x0."""
    both = [stage.x for stage in stages], [stage.x0 for stage in stages]
    n = len(stages[0].x)
    rows = [torch.stack([images[i] for images in along]) for i in range(n) for along in both]
    titles = [f"t = {float(stage.level.t):.2f}" for stage in stages]
    return draw_strip(rows, ["$x_t$", r"$\hat x_0$"] * n, titles)


def film_of(stages: list[Stage]) -> list[Image.Image]:
    """Return the stages as frames of a film: x_t above, the predicted x0 below, and over both the time."""
    return [
        titled(
            Samples(torch.cat([stage.x, stage.x0])).grid(columns=len(stage.x)), f"t = {float(stage.level.t):.2f}"
        )
        for stage in stages
    ]
