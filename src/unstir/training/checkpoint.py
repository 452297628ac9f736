"""Checkpoints: everything a run needs to go on as if never stopped, in one safetensors file.

What is saved is a mapping from names to objects that have a state, whatever they are: each object's tensors are
kept under its name. Where the run stands is metadata. Random state is not needed, since every step's is made from
the seed (:mod:`unstir.training.batches`). Where a run stands is read without torch, so that the command can answer
at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, Field, ValidationError

from unstir.errors import InputError, told_shortly
from unstir.files import whole_file
from unstir.tensors import read_about, read_tensors, write_tensors
from unstir.training.run_folder import RunFolder

KEPT = 2
"""How many of the newest checkpoints are kept, beside the first of each quarter of the budget."""


class Stateful(Protocol):
    """What has a state made of tensors by name."""

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, tensors: dict[str, Any], /) -> Any: ...  # noqa: D102


class Position(BaseModel):
    """Where a run stands.

    Attributes:
        step: Steps done.
        images: Images trained on, repeats counted.
        elapsed: Seconds spent.
        quarter: Quarters of the budget done.
        pending: What the steps since the last line of the log measured, by name.
        pictures: How many of the pictures due along the way are drawn.
        reserve: Seconds that the end of the run was measured to take; 0 before that.
        finished: Whether the budget was spent.
    """

    step: int = 0
    images: int = 0
    elapsed: float = 0.0
    quarter: int = 0
    pending: list[dict[str, float]] = Field(default_factory=list)
    pictures: int = 0
    reserve: float = 0.0
    finished: bool = False


def save_checkpoint(folder: RunFolder, objects: Mapping[str, Stateful], position: Position) -> None:
    """Write a checkpoint whole, then :func:`tidy`.

    Args:
        folder: The run's.
        objects: What is saved, by name.
        position: Where the run stands.

    Raises:
        InputError: If the disk is full; the checkpoints before it stay.
    """
    tensors = {f"{name}.{key}": value for name, one in objects.items() for key, value in one.state_dict().items()}
    target = folder.checkpoint(position.step)
    write_tensors(target, tensors, {"position": position.model_dump(mode="json")})
    tidy(folder, target, position)


def tidy(folder: RunFolder, newest: Path, position: Position) -> None:
    """Keep the newest checkpoint as its quarter's if it is the first of it, and remove those it makes needless."""
    milestone = newest.with_name(f"quarter-{position.quarter}.safetensors")
    if position.quarter and not milestone.exists():
        _link(milestone, newest)
    for old in folder.checkpoints()[:-KEPT]:
        old.unlink(missing_ok=True)


def newest_checkpoint(folder: RunFolder) -> tuple[Path, Position] | None:
    """Return the newest checkpoint and where it stands, or None if there is none.

    Raises:
        InputError: If it is damaged.
    """
    paths = folder.checkpoints()
    if not paths:
        return None
    try:
        return paths[-1], Position.model_validate(read_about(paths[-1]).told.get("position"))
    except InputError as error:
        raise _unusable(paths[-1], str(error)) from None
    except ValidationError:
        raise _unusable(paths[-1], "it does not say where the run stands") from None


def restore(path: Path, objects: Mapping[str, Stateful]) -> None:
    """Load a checkpoint into what :func:`save_checkpoint` was given.

    Raises:
        InputError: If it was changed since, or does not hold what they ask for, or more.
    """
    try:
        _, tensors = read_tensors(path)
    except InputError as error:
        raise _unusable(path, str(error)) from None
    for name, one in objects.items():
        keys = [key for key in tensors if key.startswith(f"{name}.")]
        try:
            one.load_state_dict({key.removeprefix(f"{name}."): tensors.pop(key) for key in keys})
        except (KeyError, RuntimeError, ValueError) as error:
            raise _unusable(path, f"its {name} does not fit the run ({told_shortly(error)})") from None
    if tensors:
        raise _unusable(path, f"it holds {next(iter(tensors))}, which the run has not")


def _unusable(path: Path, why: str) -> InputError:
    """Return what to say of a checkpoint that cannot be used."""
    older = [other.name for other in sorted(path.parent.glob("step-*.safetensors")) if other.name < path.name]
    advice = f"remove it to go on from {older[-1]}" if older else "remove it to begin anew"
    return InputError(f"The checkpoint {path.name} cannot be used: {why}; {advice}")


def _link(path: Path, target: Path) -> None:
    """Give a file a second name; a copy where the disk knows no links."""
    try:
        path.hardlink_to(target)
    except OSError:
        with whole_file(path) as partial:
            shutil.copyfile(target, partial)
