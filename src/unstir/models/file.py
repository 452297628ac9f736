"""A model file: averaged weights with the configuration in the metadata, so that one file is a model.

The configuration is read without torch, so that a command can answer at once. ``unstir.load`` is here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from unstir.config import checked
from unstir.errors import InputError, told_shortly
from unstir.files import read_yaml
from unstir.models.config import FrozenPart, ModelConfig, systems
from unstir.tensors import About, read_about, read_tensors, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from unstir.models.model import Model

NAME = "model.safetensors"
"""What a model file is called in a run folder."""

CHECKPOINTS = "checkpoints"
"""The folder in a run folder where all that training needs to go on is kept, averaged weights included."""

PLAN = "plan.yaml"
"""What names the stages of a plan's folder, in order."""

_PARTS, _AVERAGE = "parts", "average"


def locate(path: Path) -> Path:
    """Return the model file of a run folder, of a plan's folder (its last stage's), or the file itself.

    Raises:
        InputError: If it is not there.
    """
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"There is no run folder or model file at {path}")
        return path
    if (path / PLAN).exists():
        last = path / [*stages_in(path)][-1]
        if not last.exists():
            raise InputError(f"The plan in {path} has not come to its last stage, {last.name}, yet: train on")
        return locate(last)
    if (path / NAME).exists():
        return path / NAME
    if (path / "config.yaml").exists():
        raise InputError(f"{path} has no {NAME} yet: training has not reached a first checkpoint")
    raise InputError(f"{path} is no run folder: it has no {NAME}")


def stages_in(folder: Path) -> dict[str, str]:
    """Return the recipes of a plan's stages by their names, at least one.

    Raises:
        InputError: If the file that names them cannot be read.
    """
    stages = read_yaml(folder / PLAN)
    if not all(isinstance(recipe, str) and name == Path(name).name for name, recipe in stages.items()):
        raise InputError(f"{folder / PLAN} cannot be read: it names no stages and their recipes")
    return stages


def read_config(path: Path) -> tuple[Path, ModelConfig]:
    """Return the weights' file of a run folder or a single ``.safetensors`` model, and the model's configuration.

    The weights are not loaded, but a file cut short is noticed, and a part that is missing or another than it was.

    Raises:
        InputError: If the path is missing, is neither, has no weights yet, the file is damaged or of another
            format, or a part that it needs is not what it was.
    """
    weights = locate(path)
    about = read_about(weights)
    home = _home(weights, about)
    config = _config(home, about if home is weights else read_about(home))
    _check_parts(home, config, about)
    return weights, config


def load(path: str | Path) -> Model:
    """Load a model, ready for its verbs, from a run folder or a ``.safetensors`` file, onto a GPU if there is one.

    Of a checkpoint in a run folder, the averaged weights of that moment are loaded.

    Raises:
        InputError: If the path is missing, is neither of these, the file is damaged, or a part that it needs is
            missing or another than it was.
    """
    import torch

    weights = locate(Path(path))
    about, tensors = read_tensors(weights)
    home = _home(weights, about)
    config = _config(home, about if home is weights else read_about(home))
    if home is not weights:
        inner = f"{_AVERAGE}."
        tensors = {key.removeprefix(inner): value for key, value in tensors.items() if key.startswith(inner)}
    # Of several GPUs each process of a job has its own.
    device = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
    broken = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
    if broken:
        raise InputError(f"{weights} cannot be used: not all of its {broken} are finite numbers; train it again")
    return _built(config, tensors, home, torch.device(device))


def load_parts(parts: Mapping[str, FrozenPart], folder: Path) -> dict[str, Model]:
    """Return the frozen models that a configuration names, ready for their verbs.

    Args:
        parts: By name.
        folder: Where the file or run that names them lies.

    Raises:
        InputError: If one is missing, or its weights are others than they were.
    """
    found = {}
    for name, part in parts.items():
        check_part(name, part, folder)
        found[name] = load(part_path(part, folder))
    return found


def part_path(part: FrozenPart, folder: Path) -> Path:
    """Return where a part is: its path, from the folder of what names it if it is not a full one."""
    return Path(os.path.normpath(folder / Path(part.path).expanduser()))


def check_part(name: str, part: FrozenPart, folder: Path) -> tuple[ModelConfig, str]:
    """Return a part's configuration and the hash of its weights, without torch.

    Raises:
        InputError: If it is missing, or its weights are others than they were.
    """
    path = part_path(part, folder)
    try:
        weights, config = read_config(path)
    except InputError as error:
        raise InputError(f"The part '{name}' of the model cannot be used: {error}") from None
    noted = read_about(weights).hash
    if part.hash and noted != part.hash:
        raise InputError(
            f"The part '{name}' of the model, {path}, has changed since: its weights are not those that were used"
        )
    return config, noted


def _check_parts(weights: Path, config: ModelConfig, about: About) -> None:
    """Check the parts of a model file that are files of their own, and theirs."""
    inside = {name.split(".")[1] for name in about.names if name.startswith(f"{_PARTS}.")}
    for name, part in config.parts.items():
        if name not in inside:
            check_part(name, part, weights.parent)


def save(path: Path, model: Model, config: ModelConfig | None = None, whole: bool = False) -> None:
    """Write a model.

    Args:
        path: The file.
        model: Whose weights are written.
        config: Its configuration, if it is to be another than the model's own.
        whole: Whether the weights of its parts go into the file too, so that it needs no other.
    """
    config = config or model.config
    tensors = dict(model.state_dict())
    if whole:
        config, tensors = _inlined(config, tensors, model)
    write(path, config, tensors)


def write(path: Path, config: ModelConfig, tensors: dict[str, Tensor]) -> None:
    """Write a model's configuration and weights, whole or not at all."""
    write_tensors(path, tensors, {"model": config.model_dump(mode="json")})


def relative(path: Path, folder: Path) -> str:
    """Return a part's path as a file in ``folder`` names it: relative if beside it, so that both may move."""
    whole, place = path.expanduser().absolute(), folder.absolute()
    beside = place.parent in whole.parents
    return os.path.relpath(whole, place) if beside else str(whole)


def _home(weights: Path, about: About) -> Path:
    """Return the model file that says what weights are of: their own, or of a checkpoint its run's.

    Raises:
        InputError: For a checkpoint that lies in no run folder.
    """
    folder = weights.absolute().parent
    if "position" not in about.told or folder.name != CHECKPOINTS:
        return weights
    home = folder.parent / NAME
    if not home.exists():
        raise InputError(f"{weights} is a checkpoint, which is read in its run folder alone: there is no {home}")
    return home


def _config(weights: Path, about: About) -> ModelConfig:
    """Return the configuration that a model file holds."""
    values = about.told.get("model")
    if not isinstance(values, dict):
        raise InputError(f"{weights} holds no model")
    try:
        return checked(systems[values.get("kind")], values)
    except InputError as error:
        raise InputError(f"{weights} holds a model that this unstir does not know: {error}") from None


def _built(config: ModelConfig, tensors: dict[str, Tensor], weights: Path, device: object) -> Model:
    import torch

    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{_PARTS}.")}
    parts = {}
    for name, part in config.parts.items():
        inner = f"{_PARTS}.{name}."
        inside = {key.removeprefix(inner): value for key, value in tensors.items() if key.startswith(inner)}
        if inside and part.model is not None:
            parts[name] = _built(part.model, inside, weights, device)
        else:
            parts |= load_parts({name: part}, weights.parent)
    model = config.build(parts)
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(
            f"{weights} is damaged: its weights do not fit its configuration ({told_shortly(error)})"
        ) from None
    model.settled = True
    return model.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload, no-any-return]


def _inlined(
    config: ModelConfig, tensors: dict[str, Tensor], model: Model
) -> tuple[ModelConfig, dict[str, Tensor]]:
    parts = {}
    for name, part in model.parts.items():
        inner, own = _inlined(part.config, part.state_dict(), part)
        tensors |= {f"{_PARTS}.{name}.{key}": value for key, value in own.items()}
        parts[name] = config.parts[name].model_copy(update={"model": inner})
    return config.model_copy(update={"parts": parts}), tensors
