"""The two paths of a diffusion autoencoder, drawn from a trained one: what an image means, and all else in it.

Above, the semantic encoder reads z_sem in the image, which tells the conditional DDIM what to draw; below, DDIM
backwards under z_sem finds the noise x_T. Of both the image comes back; of z_sem and other noise, others like it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from unstir.models.diffae import DiffusionAutoencoder
from unstir.models.samples import Samples

OTHERS = 4
"""How many images are drawn of z_sem and other noise."""

BOX = {"boxstyle": "round,pad=0.5", "facecolor": "#eef2f7", "edgecolor": "#5b6b7f"}
ARROW = {"arrowstyle": "-|>", "color": "#5b6b7f", "linewidth": 1.4, "shrinkA": 2, "shrinkB": 2}


@dataclass(frozen=True)
class Paths:
    """What an image becomes on its way through both codes.

    Attributes:
        image: (C, H, W) in [-1, 1].
        code: z_sem in unit variance, (L,).
        noise: x_T, (C, H, W).
        back: What both codes bring back, (C, H, W).
        others: What z_sem does from other noise, (N, C, H, W).
    """

    image: Tensor
    code: Tensor
    noise: Tensor
    back: Tensor
    others: Tensor

    @property
    def error(self) -> float:
        """The mean squared error of what came back, on the scale of [-1, 1]."""
        return float((self.back - self.image).square().mean())


def two_paths(model: DiffusionAutoencoder, image: Tensor, steps: int, seed: int = 0) -> Paths:
    """Return the paths of an image (C, H, W), float32 in [-1, 1], over so many steps of DDIM."""
    x = image[None]
    codes = model.encode(x)
    noise = model.invert(x, codes=codes, steps=steps, progress=True)
    back = model.decode(codes, noise=noise, steps=steps, progress=True)
    seeds = range(seed, seed + OTHERS)
    others = model.decode(codes.expand(OTHERS, -1, -1, -1), seeds, steps=steps, progress=True)
    return Paths(image, codes.flatten(), noise[0], back[0], others)


def draw_two_paths(paths: Paths, steps: int) -> Figure:
    """Return the figure."""
    figure = Figure(figsize=(11, 5.2), dpi=140)
    whole = figure.add_axes((0, 0, 1, 1))
    whole.set(xlim=(0, 11), ylim=(0, 5.2))
    whole.axis("off")
    _picture(figure, paths.image, (0.35, 2.1, 1.5), "image $x_0$")
    _numbers(figure, paths.code, (4.35, 3.35, 1.3), rf"$z_{{sem}}$: {len(paths.code)} numbers")
    scaled = paths.noise / paths.noise.abs().max().clamp(min=1e-6)
    _picture(figure, scaled, (4.25, 0.65, 1.5), f"$x_T$, std {paths.noise.std():.2f}")
    title = f"of both codes: MSE {paths.error:.1e}"
    _picture(figure, paths.back, (9.1, 2.75, 1.5), title)
    for number, other in enumerate(paths.others):
        place = (9.1 + 0.8 * (number % 2), 1.15 - 0.8 * (number // 2), 0.72)
        _picture(figure, other, place, "")
    whole.text(9.85, 2.05, "of $z_{sem}$ and other noise:", ha="center", fontsize=10)
    boxes = {
        "semantic\nencoder": (3.1, 4.0),
        f"DDIM backwards,\n{steps} steps": (3.1, 1.4),
        f"DDIM under $z_{{sem}}$,\n{steps} steps": (7.3, 2.85),
    }
    for text, (x, y) in boxes.items():
        whole.text(x, y, text, ha="center", va="center", fontsize=10, bbox=BOX)
    for start, end in (
        ((1.9, 3.1), (2.45, 3.75)),
        ((1.9, 2.5), (2.3, 1.75)),
        ((3.75, 4.0), (4.3, 4.0)),
        ((4.3, 3.4), (3.5, 1.85)),
        ((3.95, 1.4), (4.2, 1.4)),
        ((5.75, 4.0), (6.6, 3.25)),
        ((5.85, 1.4), (6.7, 2.4)),
        ((8.25, 3.0), (9.0, 3.3)),
        ((8.25, 2.6), (9.0, 1.7)),
    ):
        whole.annotate("", xy=end, xytext=start, arrowprops=ARROW)
    return figure


def _axis(figure: Figure, place: tuple[float, float, float], title: str) -> Axes:
    """Return axes whose lower left corner and side are given in inches."""
    x, y, side = place
    axis = figure.add_axes((x / 11, y / 5.2, side / 11, side / 5.2))
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.set_title(title, fontsize=10, pad=5)
    return axis


def _picture(figure: Figure, image: Tensor, place: tuple[float, float, float], title: str) -> None:
    picture = np.asarray(Samples(image[None]).picture(0))
    _axis(figure, place, title).imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def _numbers(figure: Figure, code: Tensor, place: tuple[float, float, float], title: str) -> None:
    """Draw numbers as a square of colours: blue below 0, white at 0, red above."""
    side = math.ceil(math.sqrt(len(code)))
    square = torch.full((side * side,), math.nan)
    square[: len(code)] = code
    axis = _axis(figure, place, title)
    axis.imshow(square.view(side, side), cmap="RdBu_r", vmin=-2.5, vmax=2.5, interpolation="nearest")
