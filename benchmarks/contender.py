"""Who is measured: unstir in its own training step, and its peers in theirs, each as shipped and at its best.

A training step is, for all: noise and times drawn, forward, backward, the gradient clipped to norm 1, the
optimizer, the weights' average. unstir also makes its batch from stored 8-bit images within the step; the peers
get decoded ones for nothing. The peers' steps are those of their own training code: diffusers' example for
unconditional images (AdamW, ``EMAModel`` each step), denoising_diffusion_pytorch's ``Trainer`` (Adam, ``EMA``
every tenth step).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import nn

from benchmarks.workloads import Workload, synthetic
from unstir.data.dataset import Splits
from unstir.models.drawing import Drawing
from unstir.training.learner import Learner

LEARNING_RATE = 1e-4


@dataclass(frozen=True)
class Mode:
    """How a package is run.

    Attributes:
        precision: ``float32``, ``bf16``, or ``auto``: whichever unstir finds faster.
        channels_last: Whether weights and images lie with their channels last.
        tuned: Whether the package's faster switches are on: fused optimizer, foreach average, flash attention,
            and for diffusers weights in bfloat16 when sampling.
        compiled: Whether the network goes through ``torch.compile``; minutes of warm-up on a CPU.
    """

    precision: str = "float32"
    channels_last: bool = False
    tuned: bool = False
    compiled: bool = False


class Contender(ABC):
    """One package on one workload.

    Attributes:
        mode: How it is run.
        network: What is trained.
        precision: What it is trained in: ``float32`` or ``bf16``.
    """

    mode: Mode
    network: nn.Module
    precision: str

    @abstractmethod
    def step(self) -> None:
        """Train on one batch."""

    @abstractmethod
    def sample(self) -> None:
        """Draw one batch of images by DDIM without noise."""


class Unstir(Contender):
    """unstir's own learner: bfloat16 where there is any, channels last, the average each step."""

    def __init__(self, workload: Workload, mode: Mode) -> None:
        workload = workload.with_model(precision=mode.precision)
        data = synthetic(workload)
        self.workload, self.mode = workload, mode
        self.learner = Learner(workload.config, Splits(data, data))
        self.network: nn.Module = self.learner.model
        self.precision = self.learner.precision
        self.learner.average.settled = True  # as a loaded model, whose weights are copied in low precision once

    def step(self) -> None:
        """Train on one batch."""
        self.learner.step(LEARNING_RATE)

    def sample(self) -> None:
        """Draw one batch of images from the average."""
        average = self.learner.average
        assert isinstance(average, Drawing)
        average.sample(self.workload.sample_batch, batch=self.workload.sample_batch)
