"""What learns: the denoiser and its average, and one step of training."""

from __future__ import annotations

import torch
from accelerate import Accelerator, PartialState
from torch import Tensor

from unstir.data.dataset import ImageData, Splits
from unstir.diffusion.corruption import corruptions
from unstir.diffusion.objective import SquaredError, karras, objectives, time_distributions
from unstir.errors import InputError
from unstir.kernels.library import library
from unstir.kernels.memory import keep_freed_memory
from unstir.training.average import averaged_copy
from unstir.training.batches import Batch, step_seed, training_batch
from unstir.training.build import build_denoiser
from unstir.training.checkpoint import Position
from unstir.training.config import Config, DiffusionConfig
from unstir.training.precision import autocast, low_precision_copy, resolve_precision
from unstir.training.update import KernelUpdate, TorchUpdate

VALIDATION_IMAGES = 256
"""How many held-out images, always the same with the same noise, the validation loss is the mean of."""


class Learner:
    """The denoiser, its average, what updates them, and where they stand.

    Args:
        config: The run's configuration.
        splits: Its images.

    Raises:
        InputError: If the processor lacks the precision, or the batch is too small for the processes.
    """

    def __init__(self, config: Config, splits: Splits) -> None:
        self.config, self.splits = config, splits
        self.position = Position()
        # Left to itself, Accelerate joins the processes that torchrun starts only where there are GPUs.
        cpu = not (torch.cuda.is_available() or torch.xpu.is_available() or torch.backends.mps.is_available())
        state = PartialState(cpu=cpu)
        if config.training.precision == "fp16" and state.device.type == "cpu":
            raise InputError("training.precision=fp16 needs a GPU; on a CPU use bf16, float32 or auto")
        self.precision = resolve_precision(config.training.precision, state.device)
        if config.training.batch < state.num_processes:
            raise InputError(
                f"training.batch={config.training.batch} cannot be shared by {state.num_processes} processes"
            )
        self.accelerator = Accelerator(cpu=cpu, mixed_precision="fp16" if self.precision == "fp16" else "no")
        torch.manual_seed(config.seed)
        self.model = build_denoiser(config).to(self.accelerator.device, memory_format=torch.channels_last)
        self.average = averaged_copy(self.model)
        self.update: KernelUpdate | TorchUpdate
        if state.device.type == "cpu" and state.num_processes == 1 and library() is not None:
            keep_freed_memory()
            self.wrapped = low_precision_copy(self.model) if self.precision == "bf16" else self.model
            self.update = KernelUpdate(self.model, self.wrapped, self.average, config.training)
        else:
            self.wrapped = self.accelerator.prepare(self.model)
            self.update = TorchUpdate(self.model, self.average, config.training, self.accelerator)
        self.objective = make_objective(config.diffusion)
        self._held_out: list[Batch] | None = None

    def step(self, learning_rate: float) -> tuple[Tensor, Tensor]:
        """Train on the next batch; return its mean loss and the norm of the gradient, both of shape ().

        On several processes the loss is of this one's share of the batch; its mean over them is the batch's.
        """
        training, position = self.config.training, self.position
        batch = self._batch(self.splits.train, position.step, training.batch, self.config.data.flip)
        batch = batch.share(self.accelerator.process_index, self.accelerator.num_processes)
        torch.manual_seed(step_seed(self.config.seed, position.step) + self.accelerator.process_index)
        self.wrapped.train()
        # Gradients are averaged over the processes, whose shares need not be of one size.
        loss = self._loss(self.wrapped, batch).sum() * (self.accelerator.num_processes / training.batch)
        self.accelerator.backward(loss)
        norm = self.update(learning_rate, position.step + 1)
        position.step += 1
        position.images += training.batch
        return loss.detach(), norm

    @torch.inference_mode()
    def validation_loss(self) -> float:
        """Return the average network's mean loss on held-out images with fixed times and noise."""
        if self._held_out is None:
            size = min(VALIDATION_IMAGES, len(self.splits.held_out))
            whole = self._batch(self.splits.held_out, 0, size, flip=False)
            parts = -(-size // self.config.training.batch)
            self._held_out = [whole.share(i, parts) for i in range(parts)]
        return float(torch.cat([self._loss(self.average, batch) for batch in self._held_out]).mean())

    def _batch(self, data: ImageData, step: int, size: int, flip: bool) -> Batch:
        return training_batch(
            data,
            self.model.schedule,
            time_distributions[self.config.diffusion.times],
            seed=self.config.seed,
            step=step,
            size=size,
            flip=flip,
            conditional=bool(self.config.classes),
            label_dropout=self.config.training.label_dropout,
        )

    def _loss(self, denoiser: torch.nn.Module, batch: Batch) -> Tensor:
        batch = batch.to(self.accelerator.device)
        with autocast(self.precision, self.accelerator.device):
            return self.objective(denoiser, batch.x0, batch.level, batch.eps, batch.condition)


def make_objective(config: DiffusionConfig) -> SquaredError:
    """Return the objective that ``config`` names, for images of its standard deviation."""
    if config.corruption != "gaussian":
        return SquaredError("x0", corrupt=corruptions[config.corruption])
    return karras(config.sigma_data) if config.objective == "karras" else objectives[config.objective]()
