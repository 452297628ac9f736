"""Durations and counts as people write them."""

from __future__ import annotations

import re

from unstir.errors import InputError

_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile("".join(f"(?:{_NUMBER}{unit})?" for unit in "dhms"))
_SECONDS = (86_400, 3600, 60, 1)
_COUNT = re.compile(rf"{_NUMBER}([kMG]?)")
_FACTOR = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


def seconds_in(text: str) -> float:
    """Return the seconds of a duration such as ``90s``, ``30m``, ``1h30m`` or ``1.5h``.

    Raises:
        InputError: If it is none, or no time at all.
    """
    match = _DURATION.fullmatch(text.strip())
    parts = match.groups() if match else ()
    seconds = sum(float(part) * unit for part, unit in zip(parts, _SECONDS) if part)
    if seconds <= 0:
        raise InputError(f"--for takes a duration such as 90s, 30m or 1h30m, not '{text}'")
    return seconds


def count_in(text: str) -> int:
    """Return a count such as ``20000``, ``500k`` or ``2M``.

    Raises:
        InputError: If it is none, or less than 1.
    """
    match = _COUNT.fullmatch(text.strip().replace("_", "").replace(",", ""))
    count = round(float(match[1]) * _FACTOR[match[2]]) if match else 0
    if count < 1:
        raise InputError(f"--images takes a count such as 20000, 500k or 2M, not '{text}'")
    return count


def duration(seconds: float) -> str:
    """Return a duration as a person would say it.

    >>> duration(100), duration(1800), duration(5400), duration(200_000)
    ('100 s', '30 min', '1 h 30 min', '2 d 8 h')
    """
    if (seconds < 1000 and seconds % 60) or seconds < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    hours = round(seconds / 3600)
    return f"{hours // 24} d" + (f" {hours % 24} h" if hours % 24 else "")


def size(count: float) -> str:
    """Return a number of bytes in MB or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
