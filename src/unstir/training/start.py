"""Starting a run, or going on with one: what is checked before anything is loaded or trained. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.data.sources import DATASETS
from unstir.errors import InputError
from unstir.files import visible
from unstir.models.config import CODEC, FrozenPart
from unstir.models.encoders import encoder_hash
from unstir.models.file import PLAN, check_part, read_config, relative
from unstir.training.captions import with_captions
from unstir.training.config import Config
from unstir.training.run_folder import RunFolder

if TYPE_CHECKING:
    from unstir.data.dataset import ImageData


def check_out(config: Config, out: Path) -> None:
    """Check that ``out`` is free, or holds this very run, as far as can be told without the images.

    The budget may differ: training goes on under the new one. A run that has taken no step binds to nothing.

    Raises:
        InputError: If ``out`` holds another run or other files, or is no folder.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    if not visible(out):
        return
    folder = RunFolder(out)
    if not folder.config.exists():
        held = "a plan" if (out / PLAN).exists() else "other files"
        raise InputError(f"--out {out} holds {held} and no run; name a new folder")
    before = folder.read_config()
    if folder.untrained:
        return
    old, new = lasting(before), lasting(config)
    if not {before.data.source, config.data.source} <= DATASETS.keys():
        # A folder is written in many ways, and may be moved: the images tell, once they are loaded.
        del old["data"]["source"], new["data"]["source"]
    difference = first_difference(old, new)
    if difference:
        key, was, asked = difference
        raise InputError(
            f"--out {out} holds another run: its {key} is {was}, not {asked}; name another folder to keep both"
        )


def seeing(config: Config, data: ImageData, out: Path) -> Config:
    """Return the configuration with what the data and the parts turned out to be; captions are not read."""
    return with_parts(config, out).seeing(data.shape, data.facts(), data.fingerprint)


def with_data(config: Config, data: ImageData, out: Path) -> Config:
    """Return the configuration with what the training data, its captions and the parts turned out to be.

    Args:
        config: As it was asked for.
        data: The training images.
        out: The run folder, from which paths of parts count.

    Raises:
        InputError: If the model cannot be told what the data has, or a part is missing.
    """
    return with_captions(seeing(config, data, out), data)


def with_parts(config: Config, out: Path) -> Config:
    """Return the configuration with what its parts are: their configurations and the hashes of their weights.

    Raises:
        InputError: If one is missing, or was noted with another hash.
    """
    parts = {}
    for name, part in config.model.parts.items():
        model, noted = check_part(name, part, out)
        parts[name] = part.model_copy(update={"hash": noted, "model": model})
    return config.model_copy(update={"model": config.model.model_copy(update={"parts": parts})})


def named_parts(texts: Sequence[str]) -> dict[str, Path]:
    """Return the paths of parts by their names, which are given as ``name=path``.

    Raises:
        InputError: For a text of another form.
    """
    parts = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not name or not equals or not path:
            raise InputError(f"--part takes name=run, such as codec=runs/codec, not '{text}'")
        parts[name] = Path(path)
    return parts


def for_codes(config: Config, codec: Path | None) -> Config:
    """Return a recipe's configuration as it is for the codes of a codec, if one is given.

    A patch of pixels becomes one of as many codes as lie on it, and images are learned as they are.

    Raises:
        InputError: If it is no codec.
    """
    if codec is None or CODEC not in config.model.takes:
        return config
    model = read_config(codec)[1]
    if model.codes is None:
        raise InputError(f"{codec} is {model.about}, not a codec, whose codes a denoiser could learn")
    network: Any = config.model.network  # type: ignore[attr-defined]
    pixels = model.image_shape[1] / model.codes[1]
    if "patch" in type(network).model_fields:
        network = network.model_copy(update={"patch": max(1, round(network.patch / pixels))})
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"augment": 0.0}),
            "model": config.model.model_copy(update={"network": network}),
        }
    )


def with_named_parts(config: Config, named: Mapping[str, Path], out: Path) -> Config:
    """Return the configuration with parts that are given by their names.

    Raises:
        InputError: For a part that the model does not use, or one that is not there.
    """
    parts = dict(config.model.parts)
    for name, path in named.items():
        if name not in config.model.takes:
            uses = (
                f"its parts are {', '.join(config.model.takes)}" if config.model.takes else "it uses none at all"
            )
            raise InputError(f"The recipe '{config.recipe}' uses no part '{name}': {uses}")
        parts[name] = FrozenPart(path=relative(path, out))
        check_part(name, parts[name], out)
    return config.model_copy(update={"model": config.model.model_copy(update={"parts": parts})})


def check_parts(config: Config) -> None:
    """Check that a model has all the parts that it needs.

    Raises:
        InputError: If one is missing.
    """
    for name in config.model.needs:
        if name not in config.model.parts:
            raise InputError(f"The recipe '{config.recipe}' needs a part '{name}': give --part {name}=RUN")


def check_same(config: Config, out: Path) -> None:
    """Check that a run in ``out`` was trained on the images and with the parts that ``config`` has seen.

    Raises:
        InputError: If they are others.
    """
    folder = RunFolder(out)
    if not folder.config.exists() or folder.untrained:
        return
    before = folder.read_config()
    if before.fingerprint != config.fingerprint:
        source = before.data.source
        changed = " have changed since" if source == config.data.source else ""
        raise InputError(
            f"--out {out} holds a run on other images: those of '{source}'{changed}; name another folder"
        )
    for name, part in before.model.parts.items():
        if part.hash != config.model.parts[name].hash:
            raise InputError(
                f"--out {out} holds a run with another part '{name}': {part.path} has changed since; name another "
                "folder"
            )
    _check_encoders(config, folder)


def _check_encoders(config: Config, folder: RunFolder) -> None:
    if not config.model.texts or not folder.model.exists():
        return
    for name, one in read_config(folder.path)[1].texts.items():
        if name in config.model.texts and one.hash != encoder_hash(config.model.texts[name].encoder):
            raise InputError(
                f"--out {folder.path} holds a run whose {name} was read by another text encoder: '{one.encoder}' "
                "has changed since; name another folder"
            )


def first_difference(
    a: dict[str, object], b: dict[str, object], prefix: str = ""
) -> tuple[str, object, object] | None:
    """Return the first dotted key at which two nested dictionaries differ, and both values."""
    for key in [*a, *(key for key in b if key not in a)]:
        x, y = a.get(key), b.get(key)
        if isinstance(x, dict) and isinstance(y, dict):
            inner = first_difference(x, y, f"{prefix}{key}.")
            if inner:
                return inner
        elif x != y:
            return f"{prefix}{key}", x, y
    return None


def lasting(config: Config) -> dict[str, object]:
    """Return what was asked for, but for the note and the budget."""
    values = config.asked()
    del values["note"], values["training"]["images"], values["training"]["seconds"]
    for part in values["model"]["parts"].values():
        del part["hash"]
    return values
