"""Checkpoints: everything a run needs to go on as if never stopped, in one safetensors file.

What is saved is a mapping from names to objects that have a state, whatever they are: each object's tensors are
kept under its name. Where the run stands is metadata. Random state is not needed, since every step's is made from
the seed (:mod:`unstir.training.batches`). Where a run stands is read without torch, so that the command can answer
at once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from unstir.errors import InputError, told_shortly
from unstir.files import whole_file
from unstir.models.file import read_metadata
from unstir.training.run_folder import RunFolder

KEPT = 2
"""How many of the newest checkpoints are kept, beside the first of each quarter of the budget."""


class Stateful(Protocol):
    """What has a state made of tensors by name."""

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, tensors: dict[str, Any], /) -> Any: ...  # noqa: D102


@dataclass
class Position:
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
    pending: list[dict[str, float]] = field(default_factory=list)
    pictures: int = 0
    reserve: float = 0.0
    finished: bool = False


def save_checkpoint(folder: RunFolder, objects: Mapping[str, Stateful], position: Position) -> None:
    """Write a checkpoint whole, then remove those it makes needless.

    Args:
        folder: The run's.
        objects: What is saved, by name.
        position: Where the run stands.

    Raises:
        InputError: If the disk is full; the checkpoints before it stay.
    """
    from safetensors.torch import save_file

    tensors = {
        f"{name}.{key}": value.contiguous()
        for name, one in objects.items()
        for key, value in one.state_dict().items()
    }
    target = folder.checkpoint(position.step)
    with whole_file(target) as partial:
        save_file(tensors, partial, {"position": json.dumps(asdict(position))})
    milestone = target.with_name(f"quarter-{position.quarter}.safetensors")
    if position.quarter and not milestone.exists():
        _link(milestone, target)
    for old in folder.checkpoints()[:-KEPT]:
        old.unlink()


def newest_checkpoint(folder: RunFolder) -> tuple[Path, Position] | None:
    """Return the newest checkpoint and where it stands, or None if there is none.

    Raises:
        InputError: If it is damaged.
    """
    paths = folder.checkpoints()
    if not paths:
        return None
    try:
        metadata = read_metadata(paths[-1])
        return paths[-1], Position(**json.loads(metadata["position"]))
    except (InputError, KeyError, TypeError, json.JSONDecodeError) as error:
        older = f"; remove it to go on from {paths[-2].name}" if len(paths) > 1 else ""
        raise InputError(f"The checkpoint {paths[-1]} is damaged{older}") from error


def restore(path: Path, objects: Mapping[str, Stateful]) -> None:
    """Load a checkpoint into what :func:`save_checkpoint` was given.

    Raises:
        InputError: If it does not hold what they ask for, or more.
    """
    from safetensors.torch import load_file

    tensors = load_file(path)
    for name, one in objects.items():
        keys = [key for key in tensors if key.startswith(f"{name}.")]
        try:
            one.load_state_dict({key.removeprefix(f"{name}."): tensors.pop(key) for key in keys})
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"The checkpoint {path} is damaged: its {name} does not fit the run ({told_shortly(error)})"
            ) from None
    if tensors:
        raise InputError(
            f"The checkpoint {path} is damaged: it holds {next(iter(tensors))}, which the run has not"
        )


def _link(path: Path, target: Path) -> None:
    """Give a file a second name; a copy where the disk knows no links."""
    try:
        path.hardlink_to(target)
    except OSError:
        with whole_file(path) as partial:
            shutil.copyfile(target, partial)
