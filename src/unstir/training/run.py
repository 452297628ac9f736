"""A trained model, ready to draw and to clean: what ``unstir.load`` returns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from unstir.diffusion import Denoiser, NoiseLevel
from unstir.errors import InputError
from unstir.kernels.memory import keep_freed_memory
from unstir.progress import tracked
from unstir.sampling import Step
from unstir.sampling.images import Images
from unstir.sampling.tiles import tiles, window
from unstir.training.build import build_denoiser
from unstir.training.config import Config
from unstir.training.draw import walk, walk_back
from unstir.training.folder import model_file
from unstir.training.precision import autocast, low_precision_copy, resolve_precision
from unstir.training.request import (
    Labels,
    check_draws,
    check_sigma,
    check_takes,
    check_unlabelled,
    label_indices,
    sampling_config,
)

TILE, OVERLAP = 256, 32
"""Pixels a side of what is cleaned at once, and by how many its pieces overlap."""


class Run:
    """A model with its configuration.

    Attributes:
        config: The configuration it was trained with.
        denoiser: The averaged network, whose weights stay as they are from the first ``sample`` on.
    """

    def __init__(self, config: Config, denoiser: Denoiser) -> None:
        self.config = config
        self.denoiser = denoiser

    @cached_property
    def _in_bf16(self) -> Denoiser:
        return low_precision_copy(self.denoiser)

    @contextmanager
    def computing(self) -> Iterator[Denoiser]:
        """Give the denoiser in the precision that this machine computes in, for use inside the block."""
        device = next(self.denoiser.parameters()).device
        precision = resolve_precision(self.config.training.precision, device)
        if device.type == "cpu":
            keep_freed_memory()
        with torch.inference_mode(), autocast(precision, device):
            yield self._in_bf16 if (device.type, precision) == ("cpu", "bf16") else self.denoiser

    def sample(
        self,
        n: int = 64,
        *,
        noise: Tensor | None = None,
        label: Labels = None,
        seed: int = 0,
        batch: int = 64,
        progress: bool = False,
        **options: object,
    ) -> Images:
        """Draw images.

        Args:
            n: How many; with ``noise``, as many as that has.
            noise: The images at the noisiest level, (n, C, H, W), as ``invert`` returns them; None draws them.
            label: One label for all or a list of n, as names or indices; None draws the classes in turn.
            seed: Image i is drawn from seed + i alone, whatever ``n`` and ``batch`` are.
            batch: How many are drawn together.
            progress: Whether to show a progress bar, if standard error is a terminal.
            **options: ``sampler``, ``steps``, ``guidance`` and the other values of
                :class:`unstir.training.config.SamplingConfig`; the run's own are used for those left out.

        Returns:
            The images, float32 (n, C, H, W) in [-1, 1].

        Raises:
            InputError: For a value out of range, a label the model does not know, or a denoising autoencoder.
        """
        check_draws(self.config)
        config = sampling_config(self.config, options)
        assert self.config.images is not None
        shape = self.config.images.shape
        if noise is not None:
            self._check_shape(noise)
            n = len(noise)
        labels = self._labels(label, n)

        def steps(denoiser: Denoiser) -> Iterator[Step]:
            for start in range(0, n, batch):
                part = slice(start, min(start + batch, n))
                seeds = range(seed + part.start, seed + part.stop)
                own = None if labels is None else labels[part]
                begin = None if noise is None else noise[part].to(next(denoiser.parameters()).device)
                yield from walk(denoiser, shape, seeds, own, config, begin)

        total = -(-n // batch) * config.steps
        with self.computing() as denoiser:
            walked = tracked(steps(denoiser), total, "sampling", progress)
            finished = [step.x.cpu() for step in walked if step.index == config.steps]
        return Images(torch.cat(finished).clamp(-1, 1), labels, self.config.classes)

    def invert(
        self,
        images: Tensor,
        *,
        label: Labels = None,
        batch: int = 64,
        steps: int | None = None,
        spacing: str | None = None,
        guidance: float | None = None,
        clip: str | None = None,
        schedule: str | None = None,
    ) -> Tensor:
        """Return the noise from which DDIM draws about these images: ``sample(noise=...)`` is the way back.

        The way back is by the sampler ``ddim`` with eta 0 and the same labels and options. The more steps, the
        nearer it comes.

        Args:
            images: float32 (n, C, H, W) in [-1, 1].
            label: As in ``sample``: None takes the classes in turn.
            batch: How many are inverted together.
            steps: As in ``sample``, like the options that follow.
            spacing: Where the steps lie.
            guidance: How much the label counts.
            clip: How predicted images are kept in range.
            schedule: The schedule to walk on.

        Returns:
            The images at the noisiest level, float32 (n, C, H, W).

        Raises:
            InputError: For images of another shape, a value out of range, a label the model does not know, or a
                denoising autoencoder.
        """
        check_draws(self.config)
        options = {"steps": steps, "spacing": spacing, "guidance": guidance, "clip": clip, "schedule": schedule}
        config = sampling_config(self.config, options)
        self._check_shape(images)
        labels = self._labels(label, len(images))
        parts = [slice(start, start + batch) for start in range(0, len(images), batch)]
        with self.computing() as denoiser:
            device = next(denoiser.parameters()).device
            noised = [
                walk_back(denoiser, images[part].to(device), None if labels is None else labels[part], config)
                for part in parts
            ]
        return torch.cat(noised).cpu()

    def _labels(self, label: Labels, n: int) -> Tensor | None:
        indices = label_indices(self.config.classes, label, n)
        return None if indices is None else torch.tensor(indices)

    def _check_shape(self, images: Tensor) -> None:
        assert self.config.images is not None
        if tuple(images.shape[1:]) != self.config.images.shape:
            ours, theirs = ("x".join(map(str, shape)) for shape in (self.config.images.shape, images.shape[1:]))
            raise InputError(f"The run draws images of {ours}, and these are {theirs}")

    def clean(self, images: Tensor, sigma: float | None = None, *, progress: bool = False) -> Images:
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
        check_unlabelled(self.config, "Cleaning")
        check_takes(self.config, (images.shape[1], images.shape[2], images.shape[3]))
        level = self.cleaning_level(sigma)
        device = next(self.denoiser.parameters()).device
        alpha, _ = level.coefficients(images)
        pieces = tiles(*images.shape[-2:], TILE, OVERLAP)
        total, weights = torch.zeros_like(images), torch.zeros_like(images)
        with self.computing() as denoiser:
            for rows, columns in tracked(pieces, len(pieces), "cleaning", progress):
                x0 = denoiser((alpha * images[..., rows, columns]).to(device), level).x0.cpu()
                weight = window((rows, columns), OVERLAP)
                total[..., rows, columns] += weight * x0
                weights[..., rows, columns] += weight
        return Images((total / weights).clamp(-1, 1))

    def cleaning_level(self, sigma: float | None) -> NoiseLevel:
        """Return the level whose noise, relative to the image, is ``sigma``; a denoising autoencoder's only one.

        Raises:
            InputError: If the model was not trained at such a level.
        """
        check_sigma(self.config, sigma)
        schedule = self.denoiser.schedule
        last = schedule(1.0)
        if sigma is None:
            return last
        least, most = (127.5 * math.exp(-level.log_snr / 2) for level in (schedule(schedule.t_min), last))
        if not least <= 127.5 * sigma <= most:
            raise InputError(
                f"The model was trained on noise with a sigma of {least:.3g} to {most:.3g} of 255, and this is "
                f"{127.5 * sigma:.3g}"
            )
        return schedule(schedule.time(torch.tensor(-2 * math.log(sigma))))


def load(path: str | Path) -> Run:
    """Load a model from a run folder or a ``.safetensors`` file, onto the GPU if there is one.

    Raises:
        InputError: If the path is missing, is neither of these, or the file is damaged.
    """
    from safetensors.torch import load_file

    weights, config = model_file(Path(path))
    denoiser = build_denoiser(config)
    denoiser.load_state_dict(load_file(weights))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    denoiser = denoiser.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    return Run(config, denoiser)
