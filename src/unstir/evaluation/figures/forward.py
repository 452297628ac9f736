"""One image under growing noise: what the linear schedule and the cosine one leave of it, in ten stages."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor

from unstir.diffusion.schedule import cosine, linear
from unstir.evaluation.figures.strip import draw_strip
from unstir.sampling import SeededNoise

STAGES = 10


def forward_stages(image: Tensor, seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return for each schedule the image (C, H, W) at ten times evenly from 0 to 1, and alpha_bar there.

    The noise is the same in all stages: each picture has more of it than the last.

    Returns:
        ``linear`` and ``cosine``: (10, C, H, W), and float64 (10,).
    """
    t = torch.linspace(0, 1, STAGES, dtype=torch.float64)
    eps = SeededNoise([seed])(image[None]).expand(STAGES, *image.shape)
    levels = {"linear": linear()(t), "cosine": cosine()(t)}
    return {name: (level.noise(image.expand_as(eps), eps), level.alpha**2) for name, level in levels.items()}


def draw_forward(image: Tensor, seed: int = 0) -> Figure:
    """Return the figure for an image (C, H, W), float32 in [-1, 1]."""
    stages = forward_stages(image, seed)
    titles = [f"t = {i / (STAGES - 1):.2f}" for i in range(STAGES)]
    notes = [[rf"$\bar\alpha$ = {float(value):.2g}" for value in values] for _, values in stages.values()]
    return draw_strip([images for images, _ in stages.values()], list(stages), titles, notes)
