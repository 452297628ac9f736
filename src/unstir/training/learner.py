"""What learns: the denoiser and its average, and one step of training."""

from __future__ import annotations

import torch
from accelerate import Accelerator, PartialState
from torch import Tensor

from unstir.data.dataset import ImageData, Splits
from unstir.diffusion import Denoiser, GridSchedule, Schedule
from unstir.diffusion.corruption import corruptions
from unstir.diffusion.objective import Objective, SquaredError, objective
from unstir.diffusion.times import Importance, TimeDistribution, time_distributions, uniform
from unstir.errors import InputError
from unstir.kernels.library import library
from unstir.kernels.memory import keep_freed_memory
from unstir.training.average import averaged_copy
from unstir.training.batches import Batch, step_seed, training_batch
from unstir.training.build import build_denoiser
from unstir.training.checkpoint import Position
from unstir.training.config import Config
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
        self.objective = make_objective(config, self.model.schedule)
        self.times: TimeDistribution = time_distributions.get(config.diffusion.times, uniform)
        if config.diffusion.times == "importance":
            assert isinstance(self.model.schedule, GridSchedule)
            self.times = Importance(self.model.schedule.steps)

    @property
    def times_state(self) -> dict[str, Tensor]:
        """What the distribution of times remembers, to be saved and restored in place."""
        times = self.times
        return {"losses": times.losses, "counts": times.counts} if isinstance(times, Importance) else {}

    def step(self, learning_rate: float) -> tuple[Tensor, Tensor]:
        """Train on the next batch; return its mean loss and the norm of the gradient, both of shape ().

        On several processes the loss is of this one's share of the batch; its mean over them is the batch's.
        """
        training, position = self.config.training, self.position
        rank, count = self.accelerator.process_index, self.accelerator.num_processes
        flip, schedule = self.config.data.flip, self.model.schedule
        whole = self._batch(self.splits.train, position.step, training.batch, flip, schedule, self.times)
        batch = whole.share(rank, count)
        torch.manual_seed(step_seed(self.config.seed, position.step) + rank)
        self.wrapped.train()
        losses = self._loss(self.objective, self.wrapped, batch)
        if isinstance(self.times, Importance):
            every = torch.zeros(training.batch, device=losses.device)
            every[rank::count] = losses.detach()
            every = self.accelerator.reduce(every, "sum")
            losses = losses * self.times.weight(batch.level.t).to(losses)
            self.times.record(whole.level.t, every)
        # Gradients are averaged over the processes, whose shares need not be of one size.
        loss = losses.sum() * (count / training.batch)
        self.accelerator.backward(loss)
        norm = self.update(learning_rate, position.step + 1)
        position.step += 1
        position.images += training.batch
        return loss.detach(), norm

    @torch.inference_mode()
    def validation_loss(self) -> float:
        """Return the average network's mean loss on held-out images with fixed times and noise."""
        size, schedule = min(VALIDATION_IMAGES, len(self.splits.held_out)), self.average.schedule
        times = uniform if isinstance(self.times, Importance) else self.times
        whole = self._batch(self.splits.held_out, 0, size, False, schedule, times)
        parts = -(-size // self.config.training.batch)
        objective = make_objective(self.config, schedule)
        losses = [self._loss(objective, self.average, whole.share(i, parts)) for i in range(parts)]
        return float(torch.cat(losses).mean())

    def _batch(
        self, data: ImageData, step: int, size: int, flip: bool, schedule: Schedule, times: TimeDistribution
    ) -> Batch:
        return training_batch(
            data,
            schedule,
            times,
            seed=self.config.seed,
            step=step,
            size=size,
            flip=flip,
            conditional=bool(self.config.classes),
            label_dropout=self.config.training.label_dropout,
        )

    def _loss(self, objective: Objective, denoiser: Denoiser, batch: Batch) -> Tensor:
        batch = batch.to(self.accelerator.device)
        with autocast(self.precision, self.accelerator.device):
            return objective(denoiser, batch.x0, batch.level, batch.eps, batch.condition)


def make_objective(config: Config, schedule: Schedule) -> Objective:
    """Return the objective that ``config`` names; a fixed variance of its bound is the sampler's."""
    diffusion = config.diffusion
    if diffusion.corruption != "gaussian":
        return SquaredError("x0", corrupt=corruptions[diffusion.corruption])
    variance = "learned" if diffusion.variance == "learned" else config.sampling.variance
    return objective(diffusion.objective, schedule, variance, diffusion.sigma_data)
