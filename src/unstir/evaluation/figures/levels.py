r"""The loss over noise levels, against the best that can be known and the least.

Three denoisers see the same images under the same noise. The model; the ideal denoiser of the training set
(:class:`unstir.diffusion.exact.IdealDenoiser`), under which no loss on the training images can fall; and the mean
of the training images, the answer of one who sees nothing. An error of x0 at a level is one of eps and of v too:

.. math:: |\Delta\epsilon|^2 = \frac{\alpha^2}{\sigma^2} |\Delta x_0|^2, \qquad
          |\Delta v|^2 = \frac{(\alpha^2 + \sigma^2)^2}{\sigma^2} |\Delta x_0|^2
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from unstir.data.dataset import ImageData, Splits
from unstir.diffusion import Denoise, NoiseLevel, Prediction, Schedule
from unstir.diffusion.exact import IdealDenoiser
from unstir.models.denoiser import DenoiserModel
from unstir.progress import tracked
from unstir.sampling import SeededNoise

LEVELS = 20
BATCH = 128
IDEAL_PIXELS = 50_000_000
"""The ideal denoiser compares with so many pixels at most; of a larger training set it is given a part."""


@dataclass(frozen=True)
class LevelLosses:
    """Mean squared errors of x0 at each level, each float64 (L,), and what they were measured on.

    Attributes:
        levels: Of shape (L,), from noise to data, evenly in log-SNR.
        errors: ``model`` and ``ideal`` on held-out images, ``model, training`` and ``ideal, training`` on
            training ones, and ``mean`` on held-out ones.
        images: How many of each were seen.
        ideal_of: How many training images the ideal denoiser was given.
        training_images: How many there are.
    """

    levels: NoiseLevel
    errors: dict[str, Tensor]
    images: int
    ideal_of: int
    training_images: int

    def space(self, name: str) -> dict[str, Tensor]:
        """Return the errors in another space: ``x0``, ``eps`` or ``v``."""
        alpha, sigma = self.levels.alpha, self.levels.sigma
        factor = {
            "x0": torch.ones_like(sigma),
            "eps": alpha**2 / sigma**2,
            "v": (alpha**2 + sigma**2) ** 2 / sigma**2,
        }[name]
        return {who: factor * error for who, error in self.errors.items()}


def level_losses(
    run: DenoiserModel, splits: Splits, n: int = 256, seed: int = 0, progress: bool = False
) -> LevelLosses:
    """Measure a run, the ideal denoiser and the mean image at 20 levels.

    The network is not told the labels, which the ideal denoiser does not know either. Of a model with a codec all
    are of the images' codes.

    Args:
        run: A model of many levels.
        splits: The images it was trained on.
        n: How many images, the same at each level.
        seed: Which images, and which noise.
        progress: Whether to show a progress bar.
    """
    known = run.codec.encode(_some(splits.train, max(n, IDEAL_PIXELS // splits.train.pixels[0].size), seed))
    # The training images that are looked at are among those that the ideal denoiser knows.
    looked_at = {"": run.codec.encode(_some(splits.held_out, n, seed)), ", training": known[:n]}
    noise = {where: SeededNoise(range(seed, seed + len(x0)))(x0) for where, x0 in looked_at.items()}
    levels = shown_levels(run.schedule)
    denoiser = run.lowered().denoiser
    errors: dict[str, list[Tensor]] = {}

    def model(x: Tensor, level: NoiseLevel) -> Prediction:
        with torch.no_grad(), run.in_precision:  # the network alone: an ideal denoiser must not round to bfloat16
            return denoiser(x.to(run.device), level)

    asked: dict[str, Denoise] = {"model": model, "ideal": IdealDenoiser(known)}
    for level in tracked(levels, LEVELS, "measuring", progress):
        for where, x0 in looked_at.items():
            x = level.noise(x0, noise[where])
            for name, denoise in asked.items():
                errors.setdefault(name + where, []).append(_error(denoise, x0, x, level))
    found = {name: torch.stack(values) for name, values in errors.items()}
    found["mean"] = ((looked_at[""] - known.mean(0)) ** 2).double().mean().expand(LEVELS)
    return LevelLosses(NoiseLevel.stack(levels), found, len(looked_at[""]), len(known), len(splits.train))


def shown_levels(schedule: Schedule) -> list[NoiseLevel]:
    """Return 20 levels from noise to data, evenly in log-SNR: the schedule's, within sigma / alpha = 0.01..100."""
    most, least = float(schedule(1.0).log_snr), float(schedule(schedule.t_min).log_snr)
    limit = 4 * math.log(10)
    log_snr = torch.linspace(max(most, -limit), min(least, limit), LEVELS, dtype=torch.float64)
    return [schedule(t) for t in schedule.time(log_snr)]


def _some(data: ImageData, count: int, seed: int) -> Tensor:
    """Return ``count`` images of a set, or all of them in another order if there are no more."""
    return data.examples(np.random.default_rng(seed).permutation(len(data))[:count])[0]


def _error(denoise: Denoise, x0: Tensor, x: Tensor, level: NoiseLevel) -> Tensor:
    """Return the mean squared error of the predicted x0, float64 of shape ()."""
    parts = zip(x0.split(BATCH), x.split(BATCH))
    return torch.cat([(denoise(noised, level).x0.cpu() - clean) ** 2 for clean, noised in parts]).double().mean()


def draw_levels(losses: LevelLosses) -> Figure:
    """Return the figure: the errors over the noise, in the spaces of x0, eps and v."""
    figure = Figure(figsize=(14, 4.6), dpi=140, layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, (space, symbol) in zip(axes, {"x0": "x_0", "eps": r"\epsilon", "v": "v"}.items()):
        _draw_space(axis, losses, space)
        axis.set_title(f"error of ${symbol}$")
    axes[0].set_ylabel("mean squared error, pixels in [-1, 1]")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    whole = losses.ideal_of == losses.training_images
    known = f"all {losses.ideal_of:,}" if whole else f"{losses.ideal_of:,} of {losses.training_images:,}"
    said = f"{losses.images} images at each level; the ideal denoiser knows {known} training images"
    figure.suptitle(said, fontsize=10)
    return figure


STYLES: dict[str, tuple[str, dict[str, Any]]] = {
    "mean": ("the mean image, always", {"color": "0.55", "linestyle": ":"}),
    "ideal": ("ideal denoiser, held-out images", {"color": "C1"}),
    "ideal, training": ("ideal denoiser, training images", {"color": "C1", "linestyle": "--"}),
    "model": ("this model, held-out images", {"color": "C0", "marker": "o", "markersize": 4}),
    "model, training": ("this model, training images", {"color": "#0b2f57", "linestyle": "--"}),
}


def _draw_space(axis: Axes, losses: LevelLosses, space: str) -> None:
    errors = losses.space(space)
    for name, (text, style) in STYLES.items():
        axis.plot(losses.levels.sigma / losses.levels.alpha, errors[name], label=text, linewidth=2, **style)
    # The axis is the model's: an error of exactly 0, or one magnified without end, lies outside it.
    low, high = float(errors["model"].min()), float(errors["model"].max())
    axis.set(xscale="log", yscale="log", xlabel=r"noise, $\sigma / \alpha$", ylim=(low / 4, high * 4))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
