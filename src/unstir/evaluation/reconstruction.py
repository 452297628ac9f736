"""How near images come back from their codes: PSNR, SSIM, a perceptual and a Fréchet distance.

The figures of pictures are those of :mod:`unstir.evaluation.restoration`. The perceptual distance
(:mod:`unstir.networks.perceptual`) and the Fréchet distance are in the features of EfficientNet-Lite0, whatever
the codec was trained by; the latter is between the reconstructions and the images that they are of, so
that of few images it is not mostly bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from unstir.data.dataset import Splits
from unstir.evaluation.backbones.efficientnet import efficientnet
from unstir.evaluation.frechet import Statistics, distance
from unstir.evaluation.restoration import compare, means
from unstir.networks.perceptual_config import COLOURS, PerceptualConfig
from unstir.processes import gathered, processes
from unstir.progress import tracked

if TYPE_CHECKING:
    from unstir.models.model import Model


def measure_reconstruction(
    model: Model, splits: Splits, *, n: int = 1000, seed: int = 0, batch: int = 64, progress: bool = False
) -> dict[str, float]:
    """Measure how near held-out images come back. Several processes share them, and all get the same answer.

    Args:
        model: A codec.
        splits: The set that it was trained on.
        n: How many images, at most.
        seed: What is random in decoding image i comes from seed + i.
        batch: How many are encoded together.
        progress: Whether to show progress bars, if standard error is a terminal.

    Returns:
        ``psnr`` in decibels, ``ssim``, of images in gray or colour ``distance`` (0 if equal, at most 2) and
        ``fd``, and with a codebook ``codes_in_use``, the share of its codes that some place of some image has.
    """
    held_out, place = splits.held_out, processes()
    share = np.array_split(np.arange(min(n, len(held_out))), place.num_processes)[place.process_index]
    seen = held_out.shape[0] in COLOURS
    apart = PerceptualConfig().load(place.device) if seen else None
    frechet, codebook = _Frechet() if seen else None, _Codebook(model)
    found: dict[str, list[Tensor]] = {}
    starts = range(0, len(share), batch)
    for start in tracked(starts, len(starts), "reconstructing", progress):
        rows = share[start : start + batch]
        truth, _ = held_out.examples(rows, names=())
        codes = model.encode(truth)  # type: ignore[operator]
        images = model.decode(codes, [seed + int(row) for row in rows]).cpu()  # type: ignore[operator]
        codebook.add(codes)
        for figure, values in compare(images, truth, apart).items():
            found.setdefault(figure, []).append(values)
        if frechet is not None:
            frechet.add(images, truth)
    figures = means({"model": found})["model"]
    return figures | (frechet.figures() if frechet is not None else {}) | codebook.figures()


class _Frechet:
    """Statistics of images and of what comes back of them."""

    def __init__(self) -> None:
        self.backbone = efficientnet()
        self.statistics = Statistics(), Statistics()

    def add(self, *images: Tensor) -> None:
        """Take note of reconstructions and of the images, (B, C, H, W) in [-1, 1] each."""
        for one, statistics in zip(images, self.statistics, strict=True):
            statistics.add(self.backbone.read(one).features.numpy())

    def figures(self) -> dict[str, float]:
        """Return the distance of what all processes have read; of one image there is none."""
        whole = Statistics(), Statistics()
        for part in gathered(self.statistics):
            for one, statistics in zip(part, whole, strict=True):
                statistics.merge(one)
        return {"fd": distance(*whole)} if whole[0].count > 1 else {}


class _Codebook:
    """Which codes of a codebook are met in images; nothing of a codec that has none.

    Args:
        model: The codec.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.size = getattr(model, "codebook", 0)
        self.met = torch.zeros(self.size, dtype=torch.bool)

    def add(self, codes: Tensor) -> None:
        """Take note of codes (B, c, h, w)."""
        if self.size:
            self.met[self.model.tokens(codes).flatten().cpu()] = True

    def figures(self) -> dict[str, float]:
        """Return the share that all processes have met."""
        if not self.size:
            return {}
        return {"codes_in_use": float(torch.stack(gathered(self.met)).any(0).double().mean())}
