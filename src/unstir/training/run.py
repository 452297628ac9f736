"""A trained model, ready to draw: what ``unstir.load`` returns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from unstir.diffusion import Denoiser
from unstir.errors import InputError
from unstir.kernels.memory import keep_freed_memory
from unstir.sampling import Step
from unstir.sampling.images import Images
from unstir.training.build import build_denoiser
from unstir.training.config import Config
from unstir.training.draw import walk, walk_back
from unstir.training.folder import model_file
from unstir.training.precision import autocast, low_precision_copy, resolve_precision
from unstir.training.request import Labels, label_indices, sampling_config


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
            progress: Whether to show a progress bar on standard error.
            **options: ``sampler``, ``steps``, ``guidance`` and the other values of
                :class:`unstir.training.config.SamplingConfig`; the run's own are used for those left out.

        Returns:
            The images, float32 (n, C, H, W) in [-1, 1].

        Raises:
            InputError: For a value out of range or a label the model does not know.
        """
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
        console = Console(stderr=True)
        with self._at_work() as denoiser:
            walked = track(steps(denoiser), "sampling", total, console=console, disable=not progress)
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
            InputError: For images of another shape, a value out of range or a label the model does not know.
        """
        options = {"steps": steps, "spacing": spacing, "guidance": guidance, "clip": clip, "schedule": schedule}
        config = sampling_config(self.config, options)
        self._check_shape(images)
        labels = self._labels(label, len(images))
        parts = [slice(start, start + batch) for start in range(0, len(images), batch)]
        with self._at_work() as denoiser:
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

    @contextmanager
    def _at_work(self) -> Iterator[Denoiser]:
        """Lend the denoiser in the precision in which it draws."""
        device = next(self.denoiser.parameters()).device
        precision = resolve_precision(self.config.training.precision, device)
        if device.type == "cpu":
            keep_freed_memory()
        with autocast(precision, device):
            yield self._in_bf16 if (device.type, precision) == ("cpu", "bf16") else self.denoiser


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
