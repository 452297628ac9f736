"""The denoiser: a diffusion model, a score network or a denoising autoencoder, and all it can be asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unstir.diffusion import Condition, Denoiser, GridSchedule, NoiseLevel, Prediction, Schedule
from unstir.diffusion.times import Importance, stratified, uniform
from unstir.errors import InputError
from unstir.models import palette
from unstir.models.config import CODEC, Labels, label_indices
from unstir.models.drawing import Order
from unstir.models.editing import Editing
from unstir.models.model import Batch, Examples, Model, check_images
from unstir.models.samples import Samples
from unstir.networks.conditioner import Conditioner
from unstir.progress import counter, tracked
from unstir.sampling import SeededNoise
from unstir.sampling.draw import Conditional, walk, walk_back
from unstir.sampling.tiles import Tile, in_tiles, tiles

if TYPE_CHECKING:
    from unstir.diffusion.config import DiffusionConfig
    from unstir.diffusion.denoiser import TimeOf
    from unstir.models.systems import DenoiserConfig
    from unstir.sampling.config import SamplingConfig

TILE, OVERLAP = 256, 32
"""Pixels a side of what is cleaned at once, and by how many its pieces overlap."""


class DenoiserModel(Editing):
    """A denoiser under its condition, trained by the objective of its configuration.

    Attributes:
        denoiser: ``denoiser(x, level, condition) -> Prediction``.
    """

    config: DenoiserConfig

    def __init__(self, config: DenoiserConfig, parts: Mapping[str, Model]) -> None:
        super().__init__(config, parts)
        network, told = config.network, config.told
        conditioner = Conditioner(told, network.vector, network.tokens) if told else None
        built = network.build(
            config.samples.shape,  # type: ignore[arg-type]
            outputs=config.diffusion.outputs,
            image=conditioner.image_channels if conditioner else 0,
            tokens=any(one.enters == "tokens" for one in told.values()),
        )
        self.denoiser: Denoiser = config.diffusion.build(built, conditioner)
        self.times = config.diffusion.build_times(self.schedule)
        self.objective = config.diffusion.build_objective(self.schedule, config.sampling.sampler.reverse_variance)

    @property
    def schedule(self) -> Schedule:
        """The schedule of training."""
        return self.denoiser.schedule

    def prepare(self, examples: Examples, generator: torch.Generator) -> Batch:
        """Draw each image's level, stratified, and noise, and what is hidden from it.

        Of a model with a codec the examples are the moments that the codec keeps of images.
        """
        x0 = self.codec.codes(examples[0], generator)
        u = stratified(len(x0), generator)
        eps = torch.randn(x0.shape, generator=generator)
        batch = Batch(x0=x0, eps=eps, **self.part_hidden(examples, generator))
        important = isinstance(self.times, Importance)
        t = (uniform if important and not self.training else self.times)(self.schedule, u)
        batch["level"] = levels_at(self.schedule, t)
        if important and self.training:
            batch["weight"] = self.times.weight(batch["level"].t)
        return batch

    def losses(self, turn: str, batch: Batch, average: Model) -> dict[str, Tensor]:
        """Return the objective; levels drawn by importance are weighted by what makes up for it.

        Of an image of which a part is known, told as a degraded picture, the other pixels alone count.
        """
        x0, level, eps, condition = batch["x0"], batch["level"], batch["eps"], batch.get("condition")
        known = self.known(condition)
        if known is None:
            loss = self.objective(self.denoiser, x0, level, eps, condition)
        else:
            loss = self.objective(known(self.denoiser), x0, level, eps, condition) * known.weight
        if "weight" in batch:
            return {"loss": loss * batch["weight"].to(loss), "unweighted_loss": loss}
        return {"loss": loss}

    def memory(self) -> dict[str, Tensor]:
        """Return the losses of each level, where levels are drawn by importance."""
        times = self.times
        return {"losses": times.losses, "counts": times.counts} if isinstance(times, Importance) else {}

    def observe(self, turn: str, batch: Batch, losses: Mapping[str, Tensor]) -> None:
        """Remember the losses of the levels, where they are drawn by importance."""
        if isinstance(self.times, Importance):
            self.times.record(batch["level"].t, losses["unweighted_loss"])

    def walk(self, order: Order) -> Iterator[Tensor]:
        """Yield the images after each step from noise; where a degraded picture is told, of its size."""
        shape, course = self.config.samples.shape, order.course
        known = self.known(order.condition)
        if known is not None:
            shape = (shape[0], *known.picture.shape[-2:])
            self.config.check_takes(shape)
            course = course.guided(known)
        steps = walk(
            self.denoiser,
            shape,
            order.seeds,
            order.condition,
            order.settings,
            course,
            self.guided(order.condition),
            None if order.weaker is None else order.weaker.predicting(),  # type: ignore[attr-defined]
        )
        for step in steps:
            yield step.x

    def predicting(self, diffusion: DiffusionConfig | None = None, time: TimeOf | None = None) -> Conditional:
        """Return the denoiser as it computes by itself: in the number format of its configuration.

        Args:
            diffusion: As what the network is read; None for what it was trained as.
            time: What the network is told of the level; None for the same.
        """
        denoiser = self.lowered().denoiser
        if diffusion is not None or time is not None:
            denoiser = (diffusion or self.config.diffusion).build(denoiser.network, denoiser.conditioner)
            denoiser.time = time or denoiser.time

        def predict(x: Tensor, level: NoiseLevel, condition: Condition | None) -> Prediction:
            with self.in_precision:
                return denoiser(x, level, condition)

        return predict

    def known(self, condition: Condition | None) -> palette.Known | None:
        """Return what a condition makes known for sure of images; None where it is no pixels that are noised."""
        return None if CODEC in self.parts else palette.Known.of(condition)

    def guided(self, condition: Condition | None) -> list[str]:
        """Return what guidance strengthens: all that the model has learned to do without."""
        names = () if condition is None else condition.names
        return [name for name in names if self.config.told[name].dropout]

    def quick(self, evaluations: int) -> dict[str, object]:
        """Return the options of few steps: DDIM on trailing levels."""
        own = self.config.sampling
        if evaluations >= own.evaluations:
            return {}
        return {"sampler": "ddim", "eta": 0.0, "spacing": "trailing", "steps": min(evaluations, own.steps)}

    def invert(
        self, images: Tensor, *, label: Labels = None, batch: int = 64, progress: bool = False, **options: object
    ) -> Tensor:
        """Return the noise from which DDIM draws about these images: ``sample(noise=...)`` is the way back.

        The way back is by the sampler ``ddim`` with eta 0 and the same labels and options. The more steps, the
        nearer it comes.

        Args:
            images: float32 (n, C, H, W) in [-1, 1].
            label: As in ``draw``: None takes the classes in turn.
            batch: How many are inverted together.
            progress: Whether to show a progress bar, if standard error is a terminal.
            **options: ``steps``, ``spacing``, ``guidance`` and its limits, ``clip`` and ``schedule``, as in
                ``draw``.

        Returns:
            The samples at the noisiest level, float32 (n, ...).

        Raises:
            InputError: For images of another shape, a value out of range, a label the model does not know, or a
                denoising autoencoder.
        """
        settings = self.inverting(options)
        check_images(self, images)
        labels = label_indices(self.config.classes, label, range(len(images)))
        model, noised = self.lowered(), []
        starts = range(0, len(images), batch)
        for first in tracked(starts, len(starts), "inverting", progress):
            rows = slice(first, first + batch)
            condition = None if labels is None else Condition.of({"label": torch.tensor(labels[rows])})
            with torch.no_grad(), self.in_precision:
                codes = self.codec.encode(images[rows].to(self.device))
                condition = None if condition is None else condition.to(self.device)
                names = self.guided(condition)
                noised.append(walk_back(model.denoiser, codes, condition, settings, names=names).cpu())
        return torch.cat(noised)

    def inverting(self, options: Mapping[str, object]) -> SamplingConfig:
        """Return how an image's noise is found, with these options in place of the model's own.

        Raises:
            InputError: For one that it does not take, a value out of range, or a model that finds none.
        """
        self.config.require("invert")
        limits = {"guidance_min", "guidance_max", "guidance_rescale"}
        for option in options.keys() - {"steps", "spacing", "guidance", "clip", "schedule"} - limits:
            raise InputError(f"Finding an image's noise is DDIM's, with eta 0: it takes no {option}")
        return self.config.drawing(options)

    def edit(
        self,
        task: str,
        images: Tensor,
        mask: Tensor | None = None,
        *,
        told: Mapping[str, Tensor] | None = None,
        seed: int = 0,
        **how: Any,
    ) -> Samples:
        """Restore degraded pictures, if the model is told such ones; known pixels are returned as they are.

        Args:
            task: Out of those that the model was trained for, such as ``colorization``.
            images: float32 (N, C, H, W) in [-1, 1]; any H and W for a convolutional network. For colorization
                their gray is told, for super-resolution they have been enlarged.
            mask: For ``inpainting`` and ``uncropping``, and for these alone: bool (N or 1, 1, H, W), true at the
                pixels to be filled.
            told: What else the model is told, as in ``draw``.
            seed: Image i is drawn from seed + i, so that the same picture several times gives several results.
            **how: As in ``draw``.

        Raises:
            InputError: For a model that is told no degraded picture, or not of this task; for images or a mask
                that do not fit; or for a value out of range.
        """
        given = palette.told(self.config, task, palette.gray(images) if task == "colorization" else images, mask)
        x = self.sample(len(images), told={**(told or {}), **given}, seed=seed, **how).tensor.clamp(-1, 1)
        return Samples(x if mask is None else torch.where(mask, x, images))

    def clean(self, images: Tensor, sigma: float | None = None, *, progress: bool = False) -> Samples:
        """Return the clean images that the model believes in, E[x0 | x], each by one call of the network.

        Args:
            images: Corrupted, float32 (N, C, H, W) on the scale of [-1, 1]; any H and W for a convolutional
                network. Large ones are cleaned in overlapping tiles.
            sigma: The standard deviation of their Gaussian noise, on the same scale; None for a denoising
                autoencoder, which knows one corruption alone.
            progress: Whether to show a progress bar, if standard error is a terminal.

        Raises:
            InputError: If the model was not trained at such a level or without labels, or takes no such images.
        """
        self.config.require("clean")
        self.config.hideable("Cleaning")
        self.config.check_takes(tuple(images.shape[1:]))
        level = self.cleaning_level(sigma)
        alpha, _ = level.coefficients(images)
        size, denoiser = images.shape[-2:], self.lowered().denoiser

        def piece(tile: Tile) -> Tensor:
            x0: Tensor = denoiser((alpha * images[(..., *tile)]).to(self.device), level).x0.cpu()
            advance()
            return x0

        count = len(tiles(*size, TILE, OVERLAP))
        with torch.no_grad(), self.in_precision, counter(count, "cleaning", progress) as advance:
            cleaned = in_tiles(piece, size, TILE, OVERLAP)
        return Samples(cleaned.clamp(-1, 1))

    def cleaning_level(self, sigma: float | None) -> NoiseLevel:
        """Return the level whose noise, relative to the image, is ``sigma``; a denoising autoencoder's only one.

        Raises:
            InputError: If the model was not trained at such a level.
        """
        self.config.check_sigma(sigma)
        last = self.schedule(1.0)
        if sigma is None:
            return last
        ends = (self.schedule(self.schedule.t_min), last)
        least, most = (127.5 * math.exp(-level.log_snr / 2) for level in ends)
        if not least <= 127.5 * sigma <= most:
            raise InputError(
                f"The model was trained on noise with a sigma of {least:.3g} to {most:.3g} of 255, and this is "
                f"{127.5 * sigma:.3g}"
            )
        return self.schedule(self.schedule.time(torch.tensor(-2 * math.log(sigma))))

    def corrupted(self, images: Tensor) -> Tensor:
        """Return images (B, C, H, W) as they come to a denoising autoencoder, image i with the noise of seed i."""
        eps = SeededNoise(range(len(images)))(images)
        return self.objective.corrupt(images, self.cleaning_level(None), eps)


def levels_at(schedule: Schedule, t: Tensor) -> NoiseLevel:
    """Return the levels at times (B,); on a discrete schedule the exact grid points nearest to them."""
    if isinstance(schedule, GridSchedule):
        return schedule.level(schedule.index(t))
    return schedule(t)
