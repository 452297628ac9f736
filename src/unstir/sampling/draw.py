"""Drawing images from a denoiser as a configuration asks: the one place where sampling is set up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from unstir.diffusion import Condition, Denoise, Denoiser, NoiseLevel, Prediction, Schedule, on_any_schedule
from unstir.diffusion.config import ScheduleConfig
from unstir.diffusion.noise_level import Noise, broadcast
from unstir.sampling import Sampler, SeededNoise, Step, grid, invert, trajectory
from unstir.sampling.clipping import clipped, dynamically_thresholded
from unstir.sampling.config import DDIMConfig, SamplingConfig
from unstir.sampling.guidance import absorbed, by_weaker, classifier_free, conditioned

Conditional = Callable[[Tensor, NoiseLevel, Condition | None], Prediction]
"""A denoiser to be told something, such as :class:`unstir.diffusion.Denoiser`."""

Guide = Callable[[Denoise], Denoise]
"""What changes the predictions on the way, such as a guidance by another model's gradients."""

Constraint = Callable[[Sampler], Sampler]
"""What changes the images on the way, such as :class:`unstir.sampling.inpainting.Replacement`."""

Start = Callable[[NoiseLevel, Noise], Tensor]
"""Where a walk begins: images (B, C, H, W) at its first level, from its noise."""

Place = TypeVar("Place")


class Route(Protocol):
    """Which levels of a grid are walked, such as the last few, or :func:`unstir.sampling.inpainting.jumps`."""

    def __call__(self, levels: Sequence[Place], /) -> list[Place]: ...  # noqa: D102


@dataclass(frozen=True)
class Course:
    """How one batch's walk is led, beside its condition.

    Attributes:
        start: Where it begins; None: in pure noise of the model's own shape.
        guide: Changes predictions, or None.
        constraint: Changes images, or None.
        route: Changes the grid.
    """

    start: Start | None = None
    guide: Guide | None = None
    constraint: Constraint | None = None
    route: Route = list

    def guided(self, guide: Guide) -> Course:
        """Return the course with one more guide, which comes last."""
        own = self.guide
        return replace(self, guide=guide if own is None else lambda denoise: guide(own(denoise)))

    def steps(self, count: int) -> int:
        """Return how many steps a grid of ``count`` becomes."""
        return len(self.route(range(count + 1))) - 1

    def evaluations(self, config: SamplingConfig) -> int:
        """Return how often the network is asked for each image: a solver begins anew where the levels rise."""
        walked = self.route(range(config.steps + 1))
        ends = [i for i, (here, there) in enumerate(pairwise(walked)) if there < here]
        first, total = 0, 0
        for end in ends:
            if end > first:
                total += config.sampler.evaluations(end - first + 1) - 1  # without the step to clean data
            first = end + 1
        return total + config.sampler.evaluations(len(walked) - 1 - first)


def pure_noise(like: Tensor) -> Start:
    """Return the start in pure noise of the shape and on the device of ``like`` (B, C, H, W).

    It has the variance of the noised data: 1 where the process preserves it, sigma where it explodes.
    """
    return lambda level, noise: noise(like) * broadcast((level.alpha**2 + level.sigma**2).sqrt(), like)


def noised(images: Tensor) -> Start:
    """Return the start in clean ``images`` (B, C, H, W) under the first noise (SDEdit, Meng et al. 2022)."""
    return lambda level, noise: level.noise(images, noise(images))


def make_denoise(
    denoiser: Denoiser,
    condition: Condition | None,
    config: SamplingConfig,
    guide: Guide | None = None,
    names: Sequence[str] | None = None,
    weaker: Conditional | None = None,
) -> Denoise:
    """Return the denoiser under its condition and guidance, on the sampling schedule, guided and clipped.

    Clipping comes last: it undoes guidance's excess. A drift is taken into the prediction before, unless the
    sampler moves by it.

    Args:
        denoiser: Trained, or its average.
        condition: What to draw, for each image of the batch and where they are; None for an unconditional model.
        config: How to sample.
        guide: Wraps the denoiser that is asked at the sampling schedule's levels.
        names: The parts of the condition that guidance strengthens; None for all.
        weaker: What guidance pushes away from instead, told the same: on the denoiser's own schedule.
    """
    w, interval, rescale = config.guidance, config.guided_levels, config.guidance_rescale
    if weaker is not None and w > 0:
        strong, weak = conditioned(denoiser, condition), conditioned(weaker, condition)
        denoise = by_weaker(strong, weak, w, interval, rescale)
    elif condition is not None and w > 0 and (names is None or len(names) > 0):
        denoise = classifier_free(denoiser, condition, w, names, interval, rescale)
    else:
        denoise = conditioned(denoiser, condition)
    if config.schedule is not None:
        denoise = on_any_schedule(denoise, denoiser.schedule)
    if guide is not None:
        denoise = guide(denoise)
        if not config.sampler.takes_drift:
            denoise = absorbed(denoise)
    wrappers: dict[str, Guide] = {"static": clipped, "dynamic": dynamically_thresholded}
    return wrappers[config.clip](denoise) if config.clip in wrappers else denoise


def walk(
    denoiser: Denoiser,
    shape: Sequence[int],
    seeds: Sequence[int],
    condition: Condition | None,
    config: SamplingConfig,
    course: Course = Course(),
    names: Sequence[str] | None = None,
    weaker: Conditional | None = None,
    stream: int = 0,
) -> Iterator[Step]:
    """Yield the steps from noise to one batch of images.

    Args:
        denoiser: Trained, or its average.
        shape: (C, H, W).
        seeds: One for each image: the same seed gives the same image in any batch.
        condition: What to draw, for each image; None for an unconditional model.
        config: How to sample.
        course: How the walk is led.
        names: As in :func:`make_denoise`.
        weaker: As in :func:`make_denoise`.
        stream: Which stream of its seed all noise of an image comes from.
    """
    denoise, levels, schedule = _setting(denoiser, condition, config, course.guide, names, weaker)
    levels, noise, sampler = course.route(levels), SeededNoise(seeds, stream), config.build(schedule)
    begin = course.start or pure_noise(torch.empty(len(seeds), *shape, device=_device(denoiser)))
    if course.constraint is not None:
        sampler = course.constraint(sampler)
    return trajectory(denoise, begin(levels[0], noise), levels, sampler, noise)


def walk_back(
    denoiser: Denoiser,
    images: Tensor,
    condition: Condition | None,
    config: SamplingConfig,
    guide: Guide | None = None,
    names: Sequence[str] | None = None,
) -> Tensor:
    """Return the start of the walk by DDIM that ends in about these images (B, C, H, W); else as :func:`walk`."""
    config = config.model_copy(update={"sampler": DDIMConfig()})  # whatever the model is drawn by
    denoise, levels, _ = _setting(denoiser, condition, config, guide, names)
    return invert(denoise, images, levels)


def _setting(
    denoiser: Denoiser,
    condition: Condition | None,
    config: SamplingConfig,
    guide: Guide | None,
    names: Sequence[str] | None,
    weaker: Conditional | None = None,
) -> tuple[Denoise, list[NoiseLevel], Schedule]:
    """Return what is asked, at which levels, and the schedule that they are of."""
    schedule = denoiser.schedule if config.schedule is None else ScheduleConfig(name=config.schedule).build()
    if condition is not None:
        condition = condition.to(_device(denoiser))
    denoise = make_denoise(denoiser, condition, config, guide, names, weaker)
    return denoise, grid(schedule, config.steps, config.spacing), schedule


def _device(denoiser: Denoiser) -> torch.device:
    return next(denoiser.parameters()).device
