"""Beginning with another model's weights: those that fit, by their names.

Images of another size, other classes and other channels fit in part: a class that both know keeps its row, and of
the first and the last layer the channels that both have are taken. What does not fit begins anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unstir.errors import InputError, counted
from unstir.models.config import ModelConfig
from unstir.models.file import load, read_config

Shapes = Mapping[str, tuple[int, ...]]

LEAST = 0.5
"""The share of the weights that has to fit: of less, hardly anything is taken over."""


@dataclass(frozen=True)
class Piece:
    """Weights of one name that are taken over: all, or some rows along one axis.

    Attributes:
        name: Of the parameter.
        axis: Along which rows are taken.
        ours: Which of ours, or None for all.
        theirs: Which of theirs.
    """

    name: str
    axis: int = 0
    ours: tuple[int, ...] | None = None
    theirs: tuple[int, ...] = ()


def check(start: str, ours: ModelConfig) -> None:
    """Check that a model is of a kind to begin with.

    Raises:
        InputError: If it is not there, or of another system or network.
    """
    _, theirs = read_config(Path(start))
    for what, mine, other in (
        ("is of the system", ours.kind, theirs.kind),
        ("has a network of the kind", _network(ours), _network(theirs)),
    ):
        if mine != other:
            raise InputError(f"--from {start} {what} '{other}', and this recipe's is '{mine}': nothing of it fits")


def _network(config: ModelConfig) -> str | None:
    return getattr(getattr(config, "network", None), "kind", None)


def pieces(ours: ModelConfig, theirs: ModelConfig, shapes: Shapes, given: Shapes) -> Iterator[Piece]:
    """Yield what is taken over.

    Args:
        ours: The configuration of the model that begins, which has seen its data.
        theirs: That of the model it begins with.
        shapes: Of our weights, by their names.
        given: Of theirs.
    """
    tables = {
        f"encoders.{name}.table.weight": (one.classes, theirs.told[name].classes)
        for name, one in ours.told.items()
        if one.kind == "classes" and name in theirs.told
    }
    channels = ours.samples.shape[0], theirs.samples.shape[0]
    outputs = {_outputs(ours), _outputs(theirs)}
    for name in shapes.keys() & given.keys():
        mine, other = shapes[name], given[name]
        classes = next((both for end, both in tables.items() if name.endswith(end)), None)
        if classes is not None and classes[0] != classes[1] and mine[1:] == other[1:]:
            known = [(classes[0].index(one), number) for number, one in enumerate(classes[1]) if one in classes[0]]
            rows = [*known, (mine[0] - 1, other[0] - 1)]  # and that of none
            yield Piece(name, 0, *map(tuple, zip(*rows)))  # type: ignore[arg-type]
        elif mine == other:
            yield Piece(name)
        elif len(mine) == len(other) and len(outputs) == 1:
            axes = [axis for axis in range(len(mine)) if mine[axis] != other[axis]]
            if len(axes) == 1:  # of outputs the first, of inputs the second
                images = 1 if axes[0] else min(outputs)
                both = _shared(mine[axes[0]], other[axes[0]], *channels, images)
                if both:
                    yield Piece(name, axes[0], *zip(*both))


def _outputs(config: ModelConfig) -> int:
    """Return how many images its network returns at once."""
    return getattr(getattr(config, "diffusion", None), "outputs", 1)


def _shared(ours: int, theirs: int, our_channels: int, their_channels: int, images: int) -> list[tuple[int, int]]:
    """Return the rows of an axis that both have, ours and theirs; none where it does not hold images' channels.

    It holds one image after the other, of each its channels, and of each channel the rows of a patch.
    """
    rows = ours // (our_channels * images)
    if (
        our_channels == their_channels
        or rows == 0
        or ((ours, theirs) != (rows * our_channels * images, rows * their_channels * images))
    ):
        return []
    return [
        tuple((image * channels + channel) * rows + row for channels in (our_channels, their_channels))  # type: ignore[misc]
        for image in range(images)
        for channel in range(min(our_channels, their_channels))
        for row in range(rows)
    ]


@dataclass(frozen=True)
class TakenOver:
    """What a model begins with.

    Attributes:
        words: In a sentence, how much of it was taken over from where.
        given: The other model's weights.
        pieces: What is taken of them.
    """

    words: str
    given: Mapping[str, Tensor]
    pieces: list[Piece]

    def state(self, fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights to begin with, given those that the model would have otherwise."""
        state = dict(fresh)
        for piece in self.pieces:
            value = self.given[piece.name].to(fresh[piece.name])
            if piece.ours is not None:
                ours, theirs = (torch.tensor(rows, device=value.device) for rows in (piece.ours, piece.theirs))
                rows = value.index_select(piece.axis, theirs)
                value = fresh[piece.name].clone().index_copy_(piece.axis, ours, rows)
            state[piece.name] = value
        return state


def taken_over(start: str, config: ModelConfig, shapes: Shapes) -> TakenOver:
    """Return what a model takes over from another.

    Args:
        start: The other, a run or a file.
        config: The configuration of the model that begins, which has seen its data.
        shapes: Of its weights, by their names.

    Raises:
        InputError: If the other is not there, is damaged, or hardly anything of it fits.
    """
    check(start, config)
    other = load(start)
    given = other.state_dict()
    found = [*pieces(config, other.config, shapes, shapes_of(given))]
    taken = sum(
        math.prod(shapes[piece.name]) * (len(piece.ours) / shapes[piece.name][piece.axis] if piece.ours else 1)
        for piece in found
    )
    total = sum(map(math.prod, shapes.values()))
    if taken < LEAST * total:
        raise InputError(
            f"Of the weights of --from {start} only {taken / total:.0%} fit: give a run with the same network, "
            "whose settings are in its config.yaml"
        )
    whole = {piece.name for piece in found if piece.ours is None}
    left = len(shapes) - len(whole)
    anew = f"; {counted(left, 'tensor')} begin{'s' if left == 1 else ''} anew, in whole or in part" if left else ""
    words = f"{round(taken):,} of {total:,} weights are those of {start}{anew}{_otherwise(config, other.config)}"
    return TakenOver(words, given, found)


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of weights, by their names."""
    return {name: tuple(value.shape) for name, value in state.items()}


def _otherwise(ours: ModelConfig, theirs: ModelConfig) -> str:
    """Say what the weights meant elsewhere, if it is something else."""
    kinds: list[Any] = [getattr(each, "diffusion", None) for each in (ours, theirs)]
    if all(kinds) and kinds[0].parameterization != kinds[1].parameterization:
        return f"; they predicted {kinds[1].parameterization}, and learn to predict {kinds[0].parameterization}"
    return ""
