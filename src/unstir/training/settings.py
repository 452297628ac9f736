"""Changing a configuration by ``key=value`` texts, as ``--set`` takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from unstir.config import Part, checked
from unstir.errors import InputError, nearest
from unstir.training.config import Config

_NOT_SET = ("recipe", "note", "fingerprint", "model.samples", "model.parts")
"""What is found out or asked for otherwise."""


def apply_settings(config: Config, settings: Sequence[str]) -> Config:
    """Return ``config`` with ``key=value`` texts applied; keys are dotted, values are YAML.

    ``model.`` may be left out of a key. Where a part of the configuration is given another kind or name, its other
    settings start at their defaults.

    Raises:
        InputError: For a text without ``=``, an unknown key (with the nearest right one) or a wrong value.
    """
    pairs = [_pair(text) for text in settings]
    for names in (True, False):  # what names a kind first: it decides which other settings there are
        values = config.model_dump()
        for key, value in pairs:
            path = _path(config, key)
            holder = _holder(config, path)
            inner = getattr(holder, path[-1], None)
            naming = isinstance(inner, Part) and isinstance(value, str) and inner.naming
            if naming:
                path, holder = [*path, inner.naming], inner
            if names == (isinstance(holder, Part) and path[-1] == holder.naming):
                _assign(values, path, value, holder, key)
        config = checked(Config, values)
    return config


def _path(config: Config, key: str) -> list[str]:
    """Return the full path of a key."""
    path = key.split(".")
    full = path if path[0] in Config.model_fields else ["model", *path]
    if any(".".join(full).startswith(name) for name in _NOT_SET):
        raise _unknown(config, key)
    return full


def _holder(config: Config, path: Sequence[str]) -> Any:
    """Return the part of the configuration, or the mapping within it, that the last name of a path is in."""
    holder: Any = config
    for name in path[:-1]:
        holder = holder.get(name) if isinstance(holder, dict) else getattr(holder, name, None)
    known = isinstance(holder, dict) or (isinstance(holder, Part) and path[-1] in type(holder).model_fields)
    if not known:
        raise _unknown(config, ".".join(path).removeprefix("model."))
    return holder


def _assign(values: dict[str, Any], path: Sequence[str], value: Any, holder: Any, key: str) -> None:
    for name in path[:-2]:
        values = values[name]
    inner = values[path[-2]] if len(path) > 1 else values
    if isinstance(holder, Part) and path[-1] == holder.naming:
        values[path[-2]] = {path[-1]: value}
        return
    if isinstance(getattr(holder, path[-1], None), Part):
        raise InputError(
            f"'{key}' is a group of settings: {', '.join(f'{key}.{name}' for name in inner[path[-1]])}"
        )
    if path[0] == "training" and path[-1] in ("images", "seconds") and value is not None:
        inner["images"] = inner["seconds"] = None  # one budget replaces the other
    inner[path[-1]] = value


def _unknown(config: Config, key: str) -> InputError:
    return InputError(f"No setting is called '{key}'{nearest(key, _keys(config)) or '; --dry-run lists them'}")


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set takes key=value, such as training.batch=64, not '{text}'")
    return key.strip(), _parse(key, value)


def _parse(key: str, value: str) -> Any:
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputError(f"The value of {key} is not readable: {value}") from None
    if isinstance(parsed, str) and parsed == value.strip():  # YAML 1.1 reads 1e-4 as a text; quotes keep one
        try:
            return float(parsed)
        except ValueError:
            return parsed
    return parsed


def _keys(part: Any, prefix: str = "") -> list[str]:
    """Return the keys that can be set, without ``model.``."""
    if not isinstance(part, (Part, dict)) or f"model.{prefix}"[:-1] in _NOT_SET:
        return [prefix[:-1]]
    names = part if isinstance(part, dict) else type(part).model_fields
    inner = ((name, part[name] if isinstance(part, dict) else getattr(part, name)) for name in names)
    keys = [key for name, value in inner for key in _keys(value, f"{prefix}{name}.")]
    return [key.removeprefix("model.") for key in keys if key not in _NOT_SET]
