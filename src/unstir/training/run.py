"""A trained model, ready to draw: what ``unstir.load`` returns."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from unstir.diffusion import Denoiser
from unstir.kernels.memory import keep_freed_memory
from unstir.sampling import Step
from unstir.sampling.images import Images
from unstir.training.build import build_denoiser
from unstir.training.config import Config
from unstir.training.draw import walk
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
        label: Labels = None,
        seed: int = 0,
        batch: int = 64,
        progress: bool = False,
        **options: object,
    ) -> Images:
        """Draw images.

        Args:
            n: How many.
            label: One label for all or a list of n, as names or indices; None draws the classes in turn.
            seed: Image i is drawn from seed + i alone, whatever ``n`` and ``batch`` are.
            batch: How many are drawn together.
            progress: Whether to show a progress bar on standard error.
            **options: ``sampler``, ``steps``, ``spacing``, ``eta``, ``guidance``, ``clip`` and the others of
                :class:`unstir.training.config.SamplingConfig`; the run's own are used for those left out.

        Returns:
            The images, float32 (n, C, H, W) in [-1, 1].

        Raises:
            InputError: For a value out of range or a label the model does not know.
        """
        config = sampling_config(self.config, options)
        indices = label_indices(self.config.classes, label, n)
        labels = None if indices is None else torch.tensor(indices)
        assert self.config.images is not None
        shape = self.config.images.shape
        device = next(self.denoiser.parameters()).device
        precision = resolve_precision(self.config.training.precision, device)
        if device.type == "cpu":
            keep_freed_memory()
        denoiser = self._in_bf16 if (device.type, precision) == ("cpu", "bf16") else self.denoiser

        def steps() -> Iterator[Step]:
            for start in range(0, n, batch):
                seeds = range(seed + start, seed + min(start + batch, n))
                part = None if labels is None else labels[start : start + batch]
                yield from walk(denoiser, shape, seeds, part, config)

        total = -(-n // batch) * config.steps
        console = Console(stderr=True)
        with autocast(precision, device):
            walked = track(steps(), "sampling", total, console=console, disable=not progress)
            finished = [step.x.cpu() for step in walked if step.index == config.steps]
        return Images(torch.cat(finished).clamp(-1, 1), labels, self.config.classes)


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
