"""How many bits a model needs for each dimension of held-out images, with the standard error of that mean.

``bpd`` is the variational bound of the model's ancestral sampler, in the precision that it samples in and with its
clipping of predicted images, on all levels of a discrete schedule; a continuous one is cut into 1,000.
``bpd_ode`` is the likelihood under the probability-flow ODE, in float32: that of another model than the sampler's,
exact but for the solver and the dequantization, and dear, since it needs gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unstir.data.dataset import ImageData
from unstir.diffusion import Condition, Denoise, GridSchedule, NoiseLevel, Prediction
from unstir.diffusion.likelihood import BoundTerms, flow_bits, variational_bound
from unstir.diffusion.schedule import LadderSchedule
from unstir.models.denoiser import DenoiserModel
from unstir.processes import gathered, processes
from unstir.progress import counter
from unstir.sampling import SeededNoise, grid
from unstir.sampling.config import SamplingConfig
from unstir.sampling.draw import make_denoise
from unstir.sampling.guidance import conditioned

CONTINUOUS_LEVELS = 1000
ODE_LEVELS = 100

Figures = dict[str, float | int | str]


def measure_bits(
    model: DenoiserModel,
    data: ImageData,
    metrics: Sequence[str],
    *,
    n: int,
    variance: str | None = None,
    clip: str = "static",
    steps: int | None = None,
    terms: int = 50,
    seed: int = 0,
    batch: int = 250,
    progress: bool = True,
) -> Figures:
    """Return the bits for each dimension of ``n`` images, or of all if there are fewer.

    A model that was trained with labels is told those of the images: it is measured on p(x | label).

    Args:
        model: A diffusion model.
        data: The images, of which the same are taken for the same ``n``.
        metrics: ``bpd``, ``bpd_ode`` or both; others are passed over.
        n: How many images.
        variance: Of the steps of ``bpd``'s chain; None is the learned one where there is one, else the large on a
            ladder or a continuous schedule, and the run's on any other.
        clip: How the model of ``bpd`` keeps predicted images in range.
        steps: Cut the schedule into so many levels, for ``bpd`` on a discrete one trailing, else even in log-SNR.
        terms: At how many of the levels each image is measured for ``bpd``, beside the last.
        seed: Image i has the noise of seed + i alone.
        batch: How many are measured together.
        progress: Whether to show a progress bar, if standard error is a terminal.
    """
    place, chosen = processes(), np.sort(np.random.default_rng(0).permutation(len(data))[:n])
    share = np.arange(place.process_index, len(chosen), place.num_processes)
    images = _HeldOut(model, data, chosen[share], seed + share, batch)
    report: Figures = {"bpd_images": len(chosen)}
    if "bpd" in metrics:
        report |= _bound(images, steps, variance, clip, terms, progress)
    if "bpd_ode" in metrics:
        report |= _flow(images, steps, progress)
    return report


@dataclass(frozen=True)
class _HeldOut:
    """The images that this process measures, in batches, each with its condition and its noise."""

    model: DenoiserModel
    data: ImageData
    chosen: np.ndarray
    seeds: np.ndarray
    batch: int

    def __len__(self) -> int:
        return -(-len(self.chosen) // self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Condition | None, SeededNoise]]:
        device = self.model.device
        for start in range(0, len(self.chosen), self.batch):
            rows = slice(start, start + self.batch)
            x0, told = self.data.examples(self.chosen[rows], names=self.model.config.reads)
            condition, noise = self.model.condition(told, x0), SeededNoise(self.seeds[rows].tolist())
            yield x0.to(device), None if condition is None else condition.to(device), noise


def _bound(
    images: _HeldOut, steps: int | None, variance: str | None, clip: str, terms: int, progress: bool
) -> Figures:
    schedule, config = images.model.schedule, images.model.config
    if isinstance(schedule, GridSchedule):
        levels = grid(schedule, steps or schedule.steps, "trailing")
    else:
        levels = grid(schedule, steps or CONTINUOUS_LEVELS, "log_snr")
    usual = "learned" if config.diffusion.variance == "learned" else config.sampling.sampler.reverse_variance
    if isinstance(schedule, LadderSchedule) or not isinstance(schedule, GridSchedule):
        # On levels even in log-SNR the small one, at the last step the next's, is far below what remains unknown.
        usual = "large"
    variance, taken, bounds = variance or usual, min(terms, len(levels) - 2), []
    counted = counter((taken + 1) * len(images), "measuring bpd", progress)
    denoiser = images.model.lowered().denoiser
    with torch.no_grad(), images.model.in_precision, counted as advance:
        for x0, condition, noise in images:
            denoise = _counted(make_denoise(denoiser, condition, SamplingConfig(clip=clip)), advance)
            bounds.append(variational_bound(denoise, x0, levels, variance, noise, taken))
    parts = ("prior", "transitions", "decoder")
    bound = BoundTerms(*(_together([getattr(b, part) for b in bounds]) for part in parts))
    means = {f"bpd_{part}": float(getattr(bound, part).mean()) for part in parts}
    chain = {"bpd_levels": len(levels) - 1, "bpd_terms": taken, "bpd_variance": variance}
    return {**_summary("bpd", bound.total), **means, **chain}


def _flow(images: _HeldOut, steps: int | None, progress: bool) -> Figures:
    levels, bits = grid(images.model.schedule, steps or ODE_LEVELS, "log_snr"), []
    with counter(2 * (len(levels) - 2) * len(images), "measuring bpd_ode", progress) as advance:
        for x0, condition, noise in images:
            denoise = _counted(conditioned(images.model.denoiser, condition), advance)
            bits.append(flow_bits(denoise, x0, levels, noise))
    return {**_summary("bpd_ode", _together(bits)), "bpd_ode_levels": len(levels) - 1}


def _together(bits: list[Tensor]) -> Tensor:
    """Return the bits of all images, of which each process gives those it measured."""
    return torch.cat(gathered(torch.cat([each.cpu() for each in bits]) if bits else torch.empty(0)))


def _counted(denoise: Denoise, advance: Callable[[], None]) -> Denoise:
    """Return ``denoise``, which moves the progress bar on each time that it is asked."""

    def counted(x: Tensor, level: NoiseLevel) -> Prediction:
        advance()
        return denoise(x, level)

    return counted


def _summary(name: str, bits: Tensor) -> dict[str, float]:
    """Return the mean of bits (N,), and where N allows its standard error."""
    mean = {name: float(bits.mean())}
    return mean | {f"{name}_standard_error": float(bits.std()) / math.sqrt(len(bits))} if len(bits) > 1 else mean
