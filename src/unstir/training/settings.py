"""Changing a configuration by ``key=value`` texts, as ``--set`` takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from unstir.errors import InputError, nearest
from unstir.training.config import Config, ScheduleConfig


def apply_settings(config: Config, settings: Sequence[str]) -> Config:
    """Return ``config`` with ``key=value`` texts applied; keys are dotted, values are YAML.

    Raises:
        InputError: For a text without ``=``, an unknown key (with the nearest right one) or a wrong value.
    """
    pairs = [_pair(text) for text in settings]
    kinds = [value for key, value in pairs if key == "network.kind"]
    if kinds:  # another kind of network has other settings: they start at its defaults
        config = checked({**config.model_dump(), "network": {"kind": kinds[-1]}})
    values = config.model_dump()
    if any(key == "diffusion.schedule.name" for key, _ in pairs):  # so do those of another schedule
        values["diffusion"]["schedule"] = ScheduleConfig().model_dump()
    for key, value in pairs:
        _assign(config, values, key, value)
    return checked(values)


def checked(values: dict[str, Any]) -> Config:
    """Return the configuration that plain values describe.

    Raises:
        InputError: Naming the first key whose value is wrong.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        kinds = ("unet", "plain", "fully_connected", "refinenet")
        key = ".".join(str(part) for part in first["loc"] if part not in kinds)
        message = first["msg"][0].lower() + first["msg"][1:]
        if isinstance(first["input"], dict):
            raise InputError(
                f"The settings of {key} do not fit: {message.removeprefix('value error, ')}"
            ) from None
        raise InputError(f"The setting {key} cannot be {first['input']!r}: {message}") from None


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


def _assign(config: Config, values: dict[str, Any], key: str, value: Any) -> None:
    known = _keys(config)
    parts = key.split(".")
    holder = values
    for part in parts[:-1]:
        holder = holder.get(part) if isinstance(holder, dict) else None  # type: ignore[assignment]
    if (
        not isinstance(holder, dict)
        or parts[-1] not in holder
        or key.split(".")[0] in ("images", "recipe", "note")
    ):
        raise InputError(f"No setting is called '{key}'{nearest(key, known) or '; --dry-run lists them'}")
    if isinstance(holder[parts[-1]], dict):
        inner = ", ".join(f"{key}.{name}" for name in holder[parts[-1]])
        raise InputError(f"'{key}' is a group of settings: {inner}")
    if key in ("training.images", "training.seconds") and value is not None:  # one budget replaces the other
        holder["images"] = holder["seconds"] = None
    holder[parts[-1]] = value


def _keys(part: BaseModel, prefix: str = "") -> list[str]:
    keys = []
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, BaseModel):
            keys += _keys(value, f"{prefix}{name}.")
        elif f"{prefix}{name}" not in ("images", "recipe", "note"):
            keys.append(f"{prefix}{name}")
    return keys
