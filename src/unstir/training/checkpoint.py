"""Checkpoints: everything a run needs to go on as if never stopped, in one safetensors file.

Weights, averages and the optimizer's moments are tensors; where the run stands is metadata. Random state is
not needed, since every step's is made from the seed (:mod:`unstir.training.batches`); what choosing times has
learned is. Where a run stands is read without torch, so that the command can answer at once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from unstir.errors import InputError
from unstir.files import whole_file
from unstir.training.config import Config
from unstir.training.folder import RunFolder, read_metadata

if TYPE_CHECKING:
    from torch import Tensor, nn

    Moments = dict[Tensor, dict[str, Tensor]]

KEPT = 2
"""How many of the newest checkpoints are kept, beside the first of each quarter of the budget."""


@dataclass
class Position:
    """Where a run stands.

    Attributes:
        step: Steps done.
        images: Images trained on, repeats counted.
        elapsed: Seconds spent.
        quarter: Quarters of the budget done.
        scaler: fp16's loss scale.
        pending: Loss and gradient norm of the steps since the last line of the log.
        pictures: How many of the pictures due along the way are drawn.
        reserve: Seconds that the end of the run was measured to take; 0 before that.
        finished: Whether the budget was spent.
    """

    step: int = 0
    images: int = 0
    elapsed: float = 0.0
    quarter: int = 0
    scaler: dict[str, float] | None = None
    pending: list[list[float]] = field(default_factory=list)
    pictures: int = 0
    reserve: float = 0.0
    finished: bool = False


def save_checkpoint(
    folder: RunFolder,
    model: nn.Module,
    average: nn.Module,
    state: Moments,
    position: Position,
    times: Mapping[str, Tensor] = MappingProxyType({}),
) -> None:
    """Write a checkpoint whole, then remove those it makes needless.

    Args:
        folder: The run's.
        model: The weights.
        average: Their average.
        state: What the optimizer remembers.
        position: Where the run stands.
        times: What the distribution of times remembers.

    Raises:
        InputError: If the disk is full; the checkpoints before it stay.
    """
    from safetensors.torch import save_file

    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    tensors |= {f"times.{key}": value for key, value in times.items()}
    metadata = {"position": json.dumps(asdict(position))}
    target = folder.checkpoint(position.step)
    with whole_file(target) as partial:
        save_file({key: value.contiguous() for key, value in tensors.items()}, partial, metadata)
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


def restore(
    path: Path,
    model: nn.Module,
    average: nn.Module,
    state: Moments,
    times: Mapping[str, Tensor] = MappingProxyType({}),
) -> None:
    """Load a checkpoint into what :func:`save_checkpoint` was given."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(path)
    model.load_state_dict(_part(tensors, "model."))
    average.load_state_dict(_part(tensors, "average."))
    for name, parameter in model.named_parameters():
        for key in ("step", "exp_avg", "exp_avg_sq", "momentum"):
            value = tensors.get(f"optimizer.{key}.{name}")
            if value is None:  # saved before the first step
                continue
            like = parameter if key != "step" else torch.empty((), device=parameter.device)
            state[parameter][key] = torch.empty_like(like, requires_grad=False).copy_(value)
    for key, value in times.items():
        value.copy_(tensors[f"times.{key}"])


def _link(path: Path, target: Path) -> None:
    """Give a file a second name; a copy where the disk knows no links."""
    try:
        path.hardlink_to(target)
    except OSError:
        with whole_file(path) as partial:
            shutil.copyfile(target, partial)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def save_model(path: Path, config: Config, average: nn.Module) -> None:
    """Write the averaged weights with the configuration in the metadata: one file is a model."""
    from safetensors.torch import save_file

    tensors = {key: value.contiguous() for key, value in average.state_dict().items()}
    with whole_file(path) as partial:
        save_file(tensors, partial, {"config": config.model_dump_json(), "format": "pt"})
