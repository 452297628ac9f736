"""Drawing images from a denoiser as a run's configuration asks: the one place where sampling is set up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from unstir.diffusion import Condition, Denoise, Denoiser, NoiseLevel, Schedule, on_any_schedule
from unstir.diffusion.noise_level import broadcast
from unstir.diffusion.schedule import schedules
from unstir.sampling import Churn, Sampler, SeededNoise, Step, grid, invert, samplers, trajectory
from unstir.sampling.clipping import clipped, dynamically_thresholded
from unstir.sampling.guidance import classifier_free, conditioned
from unstir.sampling.predictor_corrector import predictors
from unstir.training.config import SAMPLER_OPTIONS, SamplingConfig


def make_sampler(config: SamplingConfig, schedule: Schedule) -> Sampler:
    """Return the sampler that ``config`` names, with the values it takes; churn needs the sampling schedule."""
    names = SAMPLER_OPTIONS.get(config.sampler, ())
    if "churn" in names:
        sampler = samplers[config.sampler]()
        s_tmax = math.inf if config.churn_max is None else config.churn_max
        churn = config.churn, config.churn_min, s_tmax, config.churn_noise
        return Churn(sampler, schedule, config.steps, *churn) if config.churn else sampler
    values = {name: getattr(config, name) for name in names}
    options: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    if "predictor" in options:
        options["predictor"] = predictors[config.predictor]
    return samplers[config.sampler](**options)


def make_denoise(denoiser: Denoiser, condition: Condition | None, config: SamplingConfig) -> Denoise:
    """Return the denoiser under its condition and guidance, on the sampling schedule, clipped.

    Clipping comes last: it undoes guidance's excess.
    """
    if condition is not None and config.guidance > 0:
        denoise = classifier_free(denoiser, condition, config.guidance)
    else:
        denoise = conditioned(denoiser, condition)
    if config.schedule is not None:
        denoise = on_any_schedule(denoise, denoiser.schedule)
    wrappers: dict[str, Callable[[Denoise], Denoise]] = {"static": clipped, "dynamic": dynamically_thresholded}
    return wrappers[config.clip](denoise) if config.clip in wrappers else denoise


def walk(
    denoiser: Denoiser,
    shape: Sequence[int],
    seeds: Sequence[int],
    labels: Tensor | None,
    config: SamplingConfig,
    start: Tensor | None = None,
) -> Iterator[Step]:
    """Yield the steps from noise to one batch of images.

    Args:
        denoiser: Trained, or its average.
        shape: (C, H, W).
        seeds: One for each image: the same seed gives the same image in any batch.
        labels: int64 (B,), or None for an unconditional model.
        config: How to sample.
        start: The images at the noisiest level, (B, C, H, W); None draws them from the seeds.
    """
    denoise, levels, schedule = _setting(denoiser, labels, config)
    noise = SeededNoise(seeds)
    if start is None:
        like = torch.empty(len(seeds), *shape, device=next(denoiser.parameters()).device)
        # The prior has the variance of the noised data: 1 where the process preserves it, sigma where it explodes.
        start = noise(like) * broadcast((levels[0].alpha ** 2 + levels[0].sigma ** 2).sqrt(), like)
    return trajectory(denoise, start, levels, make_sampler(config, schedule), noise)


def walk_back(denoiser: Denoiser, images: Tensor, labels: Tensor | None, config: SamplingConfig) -> Tensor:
    """Return the start of the walk by DDIM that ends in about these images (B, C, H, W)."""
    denoise, levels, _ = _setting(denoiser, labels, config)
    return invert(denoise, images, levels)


def _setting(
    denoiser: Denoiser, labels: Tensor | None, config: SamplingConfig
) -> tuple[Denoise, list[NoiseLevel], Schedule]:
    """Return what is asked, at which levels, and the schedule that they are of."""
    schedule = denoiser.schedule if config.schedule is None else schedules[config.schedule]()
    device = next(denoiser.parameters()).device
    condition = None if labels is None else Condition(vector=labels.to(device))
    return make_denoise(denoiser, condition, config), grid(schedule, config.steps, config.spacing), schedule
