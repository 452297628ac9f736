"""Drawing images from a denoiser as a run's configuration asks: the one place where sampling is set up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from unstir.diffusion import Condition, Denoise, Denoiser
from unstir.diffusion.noise_level import broadcast
from unstir.sampling import Sampler, SeededNoise, Step, grid, samplers, trajectory
from unstir.sampling.clipping import clipped, dynamically_thresholded
from unstir.sampling.guidance import classifier_free, conditioned
from unstir.sampling.predictor_corrector import predictors
from unstir.training.config import SamplingConfig


def make_sampler(config: SamplingConfig) -> Sampler:
    """Return the sampler that ``config`` names, with the values it takes."""
    updates = {"updates": config.updates} if config.updates else {}
    options: dict[str, dict[str, Any]] = {
        "ddim": {"eta": config.eta},
        "ddpm": {"variance": config.variance},
        "langevin": {"epsilon": config.epsilon, **updates},
        "pc": {"predictor": predictors[config.predictor], "snr": config.snr, **updates},
    }
    return samplers[config.sampler](**options.get(config.sampler, {}))


def make_denoise(denoiser: Denoiser, condition: Condition | None, config: SamplingConfig) -> Denoise:
    """Return the denoiser under its condition, then guidance, then clipping, which undoes guidance's excess."""
    if condition is not None and config.guidance > 0:
        denoise = classifier_free(denoiser, condition, config.guidance)
    else:
        denoise = conditioned(denoiser, condition)
    wrappers: dict[str, Callable[[Denoise], Denoise]] = {"static": clipped, "dynamic": dynamically_thresholded}
    return wrappers[config.clip](denoise) if config.clip in wrappers else denoise


def walk(
    denoiser: Denoiser,
    shape: Sequence[int],
    seeds: Sequence[int],
    labels: Tensor | None,
    config: SamplingConfig,
) -> Iterator[Step]:
    """Yield the steps from noise to one batch of images.

    Args:
        denoiser: Trained, or its average.
        shape: (C, H, W).
        seeds: One for each image: the same seed gives the same image in any batch.
        labels: int64 (B,), or None for an unconditional model.
        config: How to sample.
    """
    parameter = next(denoiser.parameters())
    levels = grid(denoiser.schedule, config.steps, config.spacing)
    condition = None if labels is None else Condition(vector=labels.to(parameter.device))
    noise = SeededNoise(seeds)
    like = torch.empty(len(seeds), *shape, device=parameter.device)
    # The prior has the variance of the noised data: 1 where the process preserves it, sigma where it explodes.
    start = noise(like) * broadcast((levels[0].alpha ** 2 + levels[0].sigma ** 2).sqrt(), like)
    denoise = make_denoise(denoiser, condition, config)
    return trajectory(denoise, start, levels, make_sampler(config), noise)
