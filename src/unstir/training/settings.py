"""Changing a configuration by ``key=value`` texts, as ``--set`` takes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from unstir.config import Part, cannot_be, checked, misfit
from unstir.errors import InputError, nearest
from unstir.files import from_yaml
from unstir.training.config import Config, TrainingConfig

_NOT_SET = ("recipe", "note", "start", "fingerprint", "begun", "model.samples", "model.parts")
"""What is found out or asked for otherwise."""

_BUDGETS = ("images", "seconds")

_LONGEST, _MOST_GROUPS = 10_000, 100
"""Letters of a value, and lists and mappings in it: YAML takes long over more."""

_FLOAT = re.compile(r"[-+]?\d+(\.\d*)?e[-+]?\d+", re.ASCII | re.IGNORECASE)

PartType = TypeVar("PartType", bound=Part)


def apply_settings(
    config: Config, settings: Sequence[str], adjust: Callable[[Config], Config] | None = None
) -> Config:
    """Return ``config`` with ``key=value`` texts applied; keys are dotted, values are YAML.

    ``model.`` may be left out of a key. Where a part of the configuration is given another kind or name, its other
    settings start at their defaults. The order of the texts does not matter, but for the same key given twice.

    Args:
        config: A recipe's.
        settings: The texts.
        adjust: What is done to the configuration once all kinds and names are settled, before other settings.

    Raises:
        InputError: For a text without ``=``, an unknown key (with the nearest right one) or a wrong value.
    """
    pairs = [_pair(text) for text in settings]
    while pairs or adjust:  # what holds other settings first: it decides which there are
        ranks = [(not _names(config, *pair), _depth(config, pair[0])) for pair in pairs]
        if adjust and all(other for other, _ in ranks):
            config, adjust = adjust(config), None
            continue
        key, value = pairs.pop(ranks.index(min(ranks)))
        config = _with(config, _path(config, key), value, key, config)
    return checked(Config, config.model_dump())  # whether they fit each other


def _path(config: Config, key: str) -> list[str]:
    """Return the full path of a key."""
    path = key.split(".")
    full = path if path[0] in Config.model_fields else ["model", *path]
    if any(".".join(full[:n]) in _NOT_SET for n in (1, 2)):
        raise _unknown(config, key)
    return full


def _names(config: Config, key: str, value: Any) -> bool:
    """Whether a setting says of which kind a part is, or what it is called."""
    path = _path(config, key)
    holder, last = _holder(config, path), path[-1]
    inner = getattr(holder, last, None)
    return isinstance(holder, Part) and (
        last == holder.naming or (isinstance(value, str) and isinstance(inner, Part) and inner.naming is not None)
    )


def _depth(config: Config, key: str) -> int:
    """Return how deep the part or the value lies that a key replaces: a kind or a name replaces its part."""
    path = _path(config, key)
    holder = _holder(config, path)
    return len(path) - (isinstance(holder, Part) and path[-1] == holder.naming)


def _holder(config: Config, path: Sequence[str]) -> Any:
    """Return the part that holds what lies at a path, or None."""
    holder: Any = config
    for name in path[:-1]:
        holder = holder.get(name) if isinstance(holder, dict) else getattr(holder, name, None)
    return holder


def _with(part: PartType, path: list[str], value: Any, key: str, config: Config) -> PartType:
    """Return a part of the configuration with the value at ``path`` within it changed."""
    name, rest = path[0], path[1:]
    if name not in type(part).model_fields:
        raise _unknown(config, key)
    inner = getattr(part, name)
    naming = inner.naming if isinstance(inner, Part) else None
    if naming and (rest == [naming] or (not rest and isinstance(value, str))):
        changed = _named(part, name, naming, value, key)
    elif isinstance(inner, Part) and rest:
        changed = _with(inner, rest, value, key, config)
    elif isinstance(inner, Part):
        raise InputError(
            f"'{key}' is a group of settings: {', '.join(f'{key}.{each}' for each in type(inner).model_fields)}"
        )
    elif isinstance(inner, dict) and len(rest) == 1:
        changed = _read(part, name, {**inner, rest[0]: value}, key.rpartition(".")[0])
    elif isinstance(inner, dict) and rest and rest[0] in inner:
        changed = {**inner, rest[0]: _with(inner[rest[0]], rest[1:], value, key, config)}
    elif rest:
        raise _unknown(config, key)
    else:
        changed = _read(part, name, value, key)
    update: dict[str, Any] = {name: changed}
    if isinstance(part, TrainingConfig) and name in _BUDGETS and changed is not None:
        update = dict.fromkeys(_BUDGETS) | update  # one budget replaces the other
    return part.model_copy(update=update)


def _named(part: Part, field: str, naming: str, value: Any, key: str) -> Any:
    """Return what a field holds under this name, at its defaults."""
    try:
        return _type(part, field).validate_python({naming: value})
    except ValidationError as error:
        raise cannot_be(key, value, error) from None


def _read(part: Part, field: str, value: Any, key: str) -> Any:
    try:
        return _type(part, field).validate_python(value)
    except ValidationError as error:
        raise misfit(error, key) from None


def _type(part: Part, field: str) -> TypeAdapter[Any]:
    """Return what checks a field by itself."""
    about = type(part).model_fields[field]
    return TypeAdapter(Annotated[(about.annotation, *about.metadata)] if about.metadata else about.annotation)


def _unknown(config: Config, key: str) -> InputError:
    known = [each.removeprefix("model.") for each in _keys(config)]
    alike = [each for each in known if each.split(".")[-1] == key.split(".")[-1]]  # in another place
    hint = nearest(key, alike) or nearest(key, known) or "; --dry-run lists them"
    return InputError(f"No setting is called '{key}'{hint}")


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set takes key=value, such as training.batch=64, not '{text}'")
    return key.strip(), _parse(key, value)


def _parse(key: str, value: str) -> Any:
    try:
        if len(value) > _LONGEST or value.count("[") + value.count("{") > _MOST_GROUPS:
            raise ValueError
        parsed = from_yaml(value)
    except ValueError:
        raise InputError(f"The value of {key} is not readable: {value}") from None
    if isinstance(parsed, str) and _FLOAT.fullmatch(value.strip()):  # YAML 1.1 reads 1e-4 as a text
        return float(parsed)
    return parsed


def _keys(value: Any, key: str = "") -> list[str]:
    """Return the full keys that can be set."""
    if key in _NOT_SET:
        return []
    within = f"{key}." if key else ""
    if isinstance(value, Part):
        return [each for name in type(value).model_fields for each in _keys(getattr(value, name), within + name)]
    if isinstance(value, dict):
        return [key, *(each for name, inner in value.items() for each in _keys(inner, within + name))]
    return [key]
