"""A model: what is learned, its loss, and what it can be asked for.

It knows no optimizer, no folder and not how many processes there are. What it is asked for are verbs, a small
protocol each: ``draw`` (:mod:`unstir.models.drawing`), ``clean``, ``invert``, ``classify``, ``embed``, ``read``,
``encode``, ``decode``. A configuration says which it has; a command asks for the verb and never for the system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unstir.diffusion import Condition, NoiseLevel
from unstir.errors import InputError
from unstir.kernels.memory import keep_freed_memory
from unstir.models.config import CODEC, ModelConfig
from unstir.models.precision import autocast, low_precision_copy, resolve_precision

Given = Mapping[str, Any]
"""What the data says of each sample, by name: tensors (B, ...), or texts as a list."""

Examples = tuple[Tensor, Given]
"""Samples (B, ...) and what is told of them."""

Self = TypeVar("Self", bound="Model")


class Batch(dict[str, Any]):
    """All that one step needs, by name; each value has a row for each sample (``value[rows]``, ``value.to``)."""

    def share(self, rank: int, count: int) -> Batch:
        """Return every ``count``-th sample, from ``rank`` on."""
        return self if count == 1 else Batch({name: value[rank::count] for name, value in self.items()})

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; levels stay where schedules are."""
        moved = {
            name: value if isinstance(value, NoiseLevel) else value.to(device) for name, value in self.items()
        }
        return Batch(moved)


class Parts(dict[str, "Model"]):
    """Frozen models by name. They are no part of the weights, and copies of a model share them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Parts:
        return self


class Model(nn.Module):
    """What one run trains.

    Args:
        config: What it is made of.
        parts: The frozen models it uses, by name, on the device where this one will be.

    Attributes:
        turns: What a step learns in turn, each by an optimizer and a loss of its own.
        settled: Whether its weights stay as they are, as those of a loaded model do: from its first drawing on.
    """

    turns: tuple[str, ...] = ("main",)

    def __init__(self, config: ModelConfig, parts: Mapping[str, Model]) -> None:
        super().__init__()
        self.config = config
        self.parts = Parts(parts)
        self.settled = False
        self._lowered: list[Model] = []
        self.anchor = nn.Buffer(torch.empty(0), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.anchor.device

    def prepare(self, examples: Examples, generator: torch.Generator) -> Batch:
        """Return what a step needs, with all its randomness, before it is shared among processes.

        Args:
            examples: On the CPU.
            generator: The only source of randomness. In evaluation mode levels are spread as for measuring.
        """
        raise NotImplementedError

    def learning(self, turn: str) -> list[nn.Parameter]:
        """Return the parameters that ``turn`` changes."""
        return list(self.parameters())

    def losses(self, turn: str, batch: Batch, average: Model) -> dict[str, Tensor]:
        """Return losses by name, each of shape (B,): the first is what descends, all are logged.

        Args:
            turn: Out of ``turns``.
            batch: A share of what ``prepare`` made.
            average: The average of this model's weights over the steps so far.
        """
        raise NotImplementedError

    def asking(self, verb: str) -> Model:
        """Return who can be asked for ``verb``: this model, or its codec.

        Raises:
            InputError: If neither can.
        """
        self.config.asking(verb)
        model = self
        while verb not in model.config.verbs:
            model = model.parts[CODEC]
        return model

    def forward(self, turn: str, batch: Batch, average: Model) -> dict[str, Tensor]:
        """Return ``losses``, whose gradients a wrapper for several processes shares."""
        return self.losses(turn, batch, average)

    def memory(self) -> dict[str, Tensor]:
        """Return what is remembered beside weights; it is saved, and restored in place."""
        return {}

    def observe(self, turn: str, batch: Batch, losses: Mapping[str, Tensor]) -> None:
        """Take note of the losses (B,) of a whole batch after its step, if there is a ``memory``."""

    def condition(self, given: Given, images: Tensor | None = None) -> Condition | None:
        """Return the condition made of what the configuration names, on the CPU, or None if there is nothing.

        Args:
            given: Values by the names of their columns; others are passed over.
            images: Of which parts make what the configuration says that they make; None for nothing of that.
        """
        found = {name: given[column] for name, column in self.config.sources.items() if column in given}
        texts = {name: found.pop(name) for name in self.config.texts if name in found}
        values = {name: torch.as_tensor(value) for name, value in found.items()} | self.read(texts)
        if images is not None:
            made = {name: one.of for name, one in self.config.told.items() if one.of}
            values |= {name: self.parts[part].embed(images).float() for name, part in made.items()}  # type: ignore[operator]
        return Condition.of(values) if values else None

    def read(self, texts: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
        """Return texts as their encoders read them, on the CPU; see :func:`unstir.models.text.spoken`.

        Raises:
            InputError: If an encoder is not there, or is another than in training.
        """
        if not texts:
            return {}
        from unstir.models.text import spoken

        return spoken(self.config.texts, texts)

    def part_hidden(self, examples: Examples, generator: torch.Generator) -> dict[str, Condition]:
        """Return a batch's ``condition``, parts of it hidden as often as the configuration says; {} for none."""
        images, given = examples
        condition = self.condition(given, images)
        dropout = {name: one.dropout for name, one in self.config.told.items()}
        source = self.config.sources
        return {} if condition is None else {"condition": condition.drop(dropout, generator, source)}

    @property
    def in_precision(self) -> AbstractContextManager[object]:
        """The context in which the model computes, in the number format of its configuration."""
        return autocast(resolve_precision(self.config.precision, self.device), self.device)

    def lowered(self: Self) -> Self:
        """Return the model that computes: this one, or on a CPU with fast bfloat16 a copy whose weights are that.

        For use ``in_precision``. Gradients flow through it unless the caller stops them.
        """
        if self.device.type != "cpu":
            return self
        keep_freed_memory()
        if resolve_precision(self.config.precision, self.device) != "bf16":
            return self
        lowered = self._lowered or [low_precision_copy(self)]
        if self.settled:
            self._lowered = lowered
        return lowered[0]  # type: ignore[return-value]


def check_shape(model: Model, x: Tensor) -> None:
    """Check that samples (B, ...) are of the model's own shape.

    Raises:
        InputError: If not.
    """
    _check(x, model.config.samples.shape, "samples")


def check_images(model: Model, images: Tensor) -> None:
    """Check that images (B, C, H, W) are of the shape of the model's.

    Raises:
        InputError: If not.
    """
    _check(images, model.config.image_shape, "images")


def _check(x: Tensor, shape: tuple[int, ...], what: str) -> None:
    if tuple(x.shape[1:]) != shape:
        ours, theirs = ("x".join(map(str, each)) for each in (shape, x.shape[1:]))
        raise InputError(f"The model's {what} are {ours}, and these are {theirs}")
