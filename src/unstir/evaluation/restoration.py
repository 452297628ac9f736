r"""How near restored pictures come to the truth: PSNR, SSIM, and a distance in the features of a classifier.

.. math:: \mathrm{PSNR} = 10 \log_{10} \frac{255^2}{\mathrm{MSE}}

SSIM is that of Wang et al. 2004. The distance (:mod:`unstir.networks.perceptual`) is in the features of the layers
of the set's own classifier (:mod:`unstir.evaluation.ruler`): it needs no download, fits digits as well as
photographs, and compares models of one set.

A model that paints what might have been there is not the nearest to what was: a blurred answer has a better PSNR.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unstir.data.dataset import ImageData, Splits
from unstir.data.degradations import DEGRADED, TASK
from unstir.evaluation.ruler import ruler
from unstir.models.samples import Samples
from unstir.networks.perceptual import Distance, between
from unstir.processes import gathered, processes
from unstir.progress import tracked

if TYPE_CHECKING:
    from unstir.models.denoiser import DenoiserModel

LEAST_ERROR = 0.25
"""Of 255: below it two images are the same, since pixels are whole numbers. It bounds PSNR, by 60 decibels."""

Figures = dict[str, dict[str, dict[str, float]]]
"""By task, by what is measured (``input``, ``mean_colour`` of what is known, ``model``), by figure."""


def measure_restoration(
    model: DenoiserModel,
    splits: Splits,
    *,
    n: int = 1000,
    seed: int = 0,
    batch: int = 64,
    progress: bool = False,
    **options: Any,
) -> Figures:
    """Measure what a model makes of degraded held-out images, and how near they are as they are.

    Each task of the model gets the same images, degraded as in pass 0. Several processes share them, and all get
    the same answer. The classifier comes from the cache or is trained; without labels there is no distance.

    Args:
        model: Told degraded pictures.
        splits: The set that it was trained on.
        n: How many images, at most.
        seed: Image i is drawn from seed + i.
        batch: How many are drawn together.
        progress: Whether to show progress bars, if standard error is a terminal.
        **options: Of drawing.

    Returns:
        For each task, of its ``input`` (hidden pixels gray), where pixels are hidden of ``mean_colour`` (the known
        ones' in their place), and of the ``model``: ``psnr`` in decibels, ``ssim`` and ``distance``, each the mean
        over the images.
    """
    place, count = processes(), min(n, len(splits.held_out))
    share = np.array_split(np.arange(count), place.num_processes)[place.process_index]
    labelled = splits.train.num_classes > 1 and splits.held_out.labels is not None
    apart = between(ruler(splits).layers) if labelled else None
    figures: Figures = {}
    for task in model.config.told[TASK].classes:
        held_out = splits.degraded((task,)).held_out
        found: dict[str, dict[str, list[Tensor]]] = {}
        starts = range(0, len(share), batch)
        for start in tracked(starts, len(starts), task, progress):
            rows = share[start : start + batch]
            truth, pictures = _restored(model, held_out, task, rows, seed, options)
            for name, images in pictures.items():
                for figure, values in compare(images, truth, apart).items():
                    found.setdefault(name, {}).setdefault(figure, []).append(values)
        figures[task] = means(found)
    return figures


def restored_picture(
    model: DenoiserModel, splits: Splits, *, n: int = 10, seed: int = 0, **options: Any
) -> Image.Image:
    """Return a picture of the first ``n`` images: for each task a row as they are, as is told, and as restored.

    The arguments are those of :func:`measure_restoration`.
    """
    rows, images = np.arange(min(n, len(splits.held_out))), []
    for task in model.config.told[TASK].classes:
        truth, pictures = _restored(model, splits.degraded((task,)).held_out, task, rows, seed, options)
        images += [truth, pictures["input"], pictures["model"]]
    return Samples(torch.cat(images)).grid(len(rows))


@torch.no_grad()
def compare(images: Tensor, truth: Tensor, apart: Distance | None = None) -> dict[str, Tensor]:
    """Return ``psnr``, ``ssim``, and with a distance ``distance``, each (B,).

    Args:
        images: (B, C, H, W) in [-1, 1]; values beyond are clipped, and all are rounded to 8 bits.
        truth: Of the same shape.
        apart: The distance of images.
    """
    x, y = in_steps(images), in_steps(truth)
    similar = [_ssim(a, b) for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    found = {"psnr": psnr(x, y), "ssim": torch.tensor(similar)}
    if apart is not None:
        shown = ((one / 127.5 - 1).to(processes().device) for one in (x, y))
        found["distance"] = apart(*shown).cpu()
    return found


def in_steps(images: Tensor) -> Tensor:
    """Return images in [-1, 1] as whole numbers of 0 to 255, float32; values beyond are clipped."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round()


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Return the PSNR (B,) in decibels, at most 60, of images (B, C, H, W) of 0 to 255."""
    error = ((x - y) ** 2).flatten(1).mean(1).clamp(min=LEAST_ERROR**2)
    return 10 * torch.log10(255**2 / error)


def _ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Return the SSIM of two images (C, H, W) of 0 to 255, in the authors' Gaussian window of 11 pixels."""
    from skimage.metrics import structural_similarity

    sigma = min(1.5, max(min(x.shape[1:]) - 1, 1) / 8)  # a narrower window where the image is
    how = {"gaussian_weights": True, "sigma": sigma, "use_sample_covariance": False}
    return float(structural_similarity(x, y, channel_axis=0, data_range=255.0, **how))


def _restored(
    model: DenoiserModel, data: ImageData, task: str, rows: np.ndarray, seed: int, options: Mapping[str, Any]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return images, and what there is of them by name: as is told, a simple guess, and what the model draws."""
    truth, given = data.examples(rows, names=(DEGRADED,))
    told = given[DEGRADED]
    assert isinstance(told, Tensor)
    picture, mask = told[:, :-1], told[:, -1:] > 0.5
    pictures = {"input": picture}
    if task in ("inpainting", "uncropping"):
        known = (~mask).float()
        mean = (picture * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1)
        pictures["mean_colour"] = torch.where(mask, mean, picture)
    masked = mask if "mean_colour" in pictures else None
    labelled = model.config.classes and data.labels is not None
    label = data.labels[rows].tolist() if labelled else None  # type: ignore[index]
    pictures["model"] = model.edit(
        task, picture, masked, seed=seed + int(rows[0]), batch=len(rows), label=label, **options
    ).tensor
    return truth, pictures


def means(found: Mapping[str, Mapping[str, list[Tensor]]]) -> dict[str, dict[str, float]]:
    """Return the mean over all images of what every process found, by what is measured and by figure."""
    every: dict[str, dict[str, list[Tensor]]] = {}
    for part in gathered(found):
        for name, figures in part.items():
            for figure, values in figures.items():
                every.setdefault(name, {}).setdefault(figure, []).extend(values)
    return {
        name: {figure: float(torch.cat(values).double().mean()) for figure, values in figures.items()}
        for name, figures in every.items()
    }
