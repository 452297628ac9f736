"""What learns: a model and its average, and one step of training. It knows no system, only turns and losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from torch import Tensor

from unstir.data.dataset import Splits
from unstir.errors import InputError
from unstir.kernels.library import library
from unstir.kernels.memory import keep_freed_memory
from unstir.models.model import Batch, Model
from unstir.models.precision import autocast, low_precision_copy, resolve_precision
from unstir.processes import gathered, has_accelerator, processes
from unstir.training.average import averaged_copy, copy_buffers
from unstir.training.batches import step_seed, training_batch
from unstir.training.checkpoint import Position, Stateful
from unstir.training.codes import learned
from unstir.training.config import Config
from unstir.training.update import KernelUpdate, Row, TorchUpdate

VALIDATION_IMAGES = 256
"""How many held-out images, always the same with the same noise, the validation loss is the mean of."""

Values = dict[str, Tensor]
"""What a step measured, by name, each of shape ()."""


class Learner:
    """The model, its average, what updates them, and where they stand.

    Args:
        config: The run's configuration, which has seen its data.
        splits: Its images.
        parts: The frozen models that its model uses.

    Raises:
        InputError: If the processor lacks the precision, or the batch is too small for the processes.
    """

    def __init__(self, config: Config, splits: Splits, parts: Mapping[str, Model] | None = None) -> None:
        self.config, self.splits = config, splits
        self.position = Position()
        state = processes()
        if config.model.precision == "fp16" and state.device.type == "cpu":
            raise InputError("model.precision=fp16 needs a GPU; on a CPU use bf16, float32 or auto")
        self.precision = gathered(arithmetic(config, state.device))[0]  # measured by each, and chosen for all
        if config.training.batch < state.num_processes:
            raise InputError(
                f"training.batch={config.training.batch} cannot be shared by {state.num_processes} processes"
            )
        torch.manual_seed(config.seed)
        model = config.model.build(parts or {})
        AcceleratorState._reset_state()  # which holds the number format of a run before this one
        self.accelerator = Accelerator(
            cpu=not has_accelerator(),
            mixed_precision="fp16" if self.precision == "fp16" else "no",
            # A turn leaves the other turns' weights out of its loss.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=len(model.turns) > 1)],
        )
        self.model = model.to(self.accelerator.device, memory_format=torch.channels_last).train()
        self.average = averaged_copy(self.model)
        self.train, self.held_out = (
            learned(self.model, part, flip)
            for part, flip in ((splits.train, config.data.flip), (splits.held_out, False))
        )
        kernels = state.device.type == "cpu" and state.num_processes == 1 and library() is not None
        self.working, self.wrapped = self.model, self.model
        if kernels:
            keep_freed_memory()
            if self.precision == "bf16":
                self.working = self.wrapped = low_precision_copy(self.model)
        else:
            self.wrapped = self.accelerator.prepare(self.model)
        self.updates = {}
        for turn in self.model.turns:
            of = [each.learning(turn) for each in (self.model, self.working, self.average)]
            rows = [Row(*row) for row in zip(*of, strict=True)]
            own = config.training
            self.updates[turn] = KernelUpdate(rows, own) if kernels else TorchUpdate(rows, own, self.accelerator)

    def state(self) -> dict[str, Stateful]:
        """Return by name all that a checkpoint holds beside the position."""
        objects: dict[str, Stateful] = {
            "model": _Weights(self.model, self.working),
            "average": self.average,
            "optimizer": _Moments(self.model, self.updates, self.position.step),
            "memory": _InPlace(self.model.memory()),
        }
        return objects | ({"scaler": _Numbers(self.accelerator.scaler)} if self.accelerator.scaler else {})

    def begin(self, state: Mapping[str, Tensor]) -> None:
        """Begin with these weights in place of fresh ones."""
        _Weights(self.model, self.working).load_state_dict(dict(state))
        self.average.load_state_dict(state)

    def step(self, learning_rate: float) -> Values:
        """Train on the next batch, each turn once; return the mean losses and the norm of each turn's gradient.

        On several processes the losses are of this one's share of the batch; their mean over them is the batch's.
        """
        training, position = self.config.training, self.position
        rank, count = self.accelerator.process_index, self.accelerator.num_processes
        whole = training_batch(
            self.model,
            self.train,
            seed=self.config.seed,
            step=position.step,
            size=training.batch,
            flip=self.config.data.flip,
        )
        batch = whole.share(rank, count).to(self.accelerator.device)
        torch.manual_seed(step_seed(self.config.seed, position.step) + rank)
        self.wrapped.train()
        values: Values = {}
        for turn in self.model.turns:
            values |= self._turn(turn, whole, batch, learning_rate)
        copy_buffers(self.average, self.model)
        position.step += 1
        position.images += training.batch
        return values

    def _turn(self, turn: str, whole: Batch, batch: Batch, learning_rate: float) -> Values:
        several = len(self.model.turns) > 1
        if several:
            learning = {id(parameter) for parameter in self.working.learning(turn)}
            for parameter in self.working.parameters():
                parameter.requires_grad_(id(parameter) in learning)
        count, size = self.accelerator.num_processes, self.config.training.batch
        with autocast(self.precision, self.accelerator.device):
            losses = self.wrapped(turn, batch, self.average)
        # Gradients are averaged over the processes, whose shares need not be of one size.
        means = {name: loss.sum() * (count / size) for name, loss in losses.items()}
        self.accelerator.backward(next(iter(means.values())))
        norm = self.updates[turn](learning_rate, self.position.step + 1)
        self.wrapped.zero_grad()
        if self.model.memory():
            self.model.observe(turn, whole, {name: self._whole(loss.detach()) for name, loss in losses.items()})
        values = {name: mean.detach() for name, mean in means.items()}
        return values | {f"gradient_norm_{turn}" if several else "gradient_norm": norm}

    def _whole(self, losses: Tensor) -> Tensor:
        """Return the losses of the whole batch, given those of this process's share."""
        rank, count = self.accelerator.process_index, self.accelerator.num_processes
        if count == 1:
            return losses
        every = torch.zeros(self.config.training.batch, device=losses.device)
        every[rank::count] = losses
        return self.accelerator.reduce(every, "sum")  # type: ignore[no-any-return]

    @torch.no_grad()
    def validation_losses(self) -> dict[str, float]:
        """Return the average network's mean losses on held-out images, always with the same randomness."""
        size = min(VALIDATION_IMAGES, len(self.held_out))
        whole = training_batch(self.average, self.held_out, seed=self.config.seed, step=0, size=size)
        parts = -(-size // self.config.training.batch)
        found: dict[str, list[Tensor]] = {}
        for turn in self.model.turns:
            for i in range(parts):
                batch = whole.share(i, parts).to(self.accelerator.device)
                with autocast(self.precision, self.accelerator.device):
                    losses = self.average.losses(turn, batch, self.average)
                for name, loss in losses.items():
                    found.setdefault(f"validation_{name}", []).append(loss)
        return {name: float(torch.cat(parts).mean()) for name, parts in found.items()}


def arithmetic(config: Config, device: torch.device) -> str:
    """Return the number format of a run on a device: the one it was begun with there, if it was."""
    return config.begun.arithmetic.get(device.type) or resolve_precision(config.model.precision, device)


class _Weights:
    """A model's weights, which their copy in low precision follows."""

    def __init__(self, model: Model, working: Model) -> None:
        self.model, self.working = model, working

    def state_dict(self) -> dict[str, Any]:
        return self.model.state_dict()

    @torch.no_grad()
    def load_state_dict(self, tensors: dict[str, Any]) -> None:
        self.model.load_state_dict(tensors)
        for working, parameter in zip(self.working.parameters(), self.model.parameters(), strict=True):
            if working is not parameter:
                working.copy_(parameter)


class _Moments:
    """What the optimizers remember after ``step`` steps, by turn, kind and the parameter's name."""

    def __init__(self, model: Model, updates: Mapping[str, KernelUpdate | TorchUpdate], step: int) -> None:
        self.names = dict(model.named_parameters())
        self.updates, self.step = updates, step

    def state_dict(self) -> dict[str, Any]:
        return {
            f"{turn}.{key}.{name}": value
            for turn, update in self.updates.items()
            for name, parameter in self.names.items()
            for key, value in update.state.get(parameter, {}).items()
        }

    def load_state_dict(self, tensors: dict[str, Any]) -> None:
        kinds: dict[tuple[str, str], set[str]] = {}
        for place, value in tensors.items():
            turn, key, name = place.split(".", 2)
            parameter = self.names[name]
            like = parameter if key != "step" else torch.empty((), device=parameter.device)
            kept = _filled(torch.empty_like(like, requires_grad=False), value, place)
            self.updates[turn].state[parameter][key] = kept
            kinds.setdefault((turn, name), set()).add(key)
        for (turn, name), keys in kinds.items():
            if keys not in ({"step", "momentum"}, {"step", "exp_avg", "exp_avg_sq"}):
                raise ValueError(f"of {turn} for {name} there is only {', '.join(sorted(keys))}")
        without = self.updates.keys() - {turn for turn, _ in kinds}
        if self.step and without:
            raise ValueError(f"of {min(without)} there is nothing, after {self.step} steps")


class _InPlace:
    """Tensors that are restored where they are."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    def state_dict(self) -> dict[str, Any]:
        return self.tensors

    def load_state_dict(self, tensors: dict[str, Any]) -> None:
        if tensors.keys() != self.tensors.keys():
            raise ValueError(f"there are {', '.join(tensors) or 'none'}, not {', '.join(self.tensors) or 'none'}")
        for name, tensor in self.tensors.items():
            _filled(tensor, tensors[name], name)


def _filled(tensor: Tensor, value: Tensor, name: str) -> Tensor:
    """Return the tensor with a value of its own shape copied into it."""
    if tensor.shape != value.shape:
        raise ValueError(f"{name} is of shape {tuple(value.shape)}, not {tuple(tensor.shape)}")
    return tensor.copy_(value)


class _Numbers:
    """An object whose state is numbers, such as fp16's loss scale."""

    def __init__(self, holder: Any) -> None:
        self.holder = holder

    def state_dict(self) -> dict[str, Any]:
        return {name: torch.tensor(value) for name, value in self.holder.state_dict().items()}

    def load_state_dict(self, tensors: dict[str, Any]) -> None:
        self.holder.load_state_dict({name: value.item() for name, value in tensors.items()})
