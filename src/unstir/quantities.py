"""Durations and counts as people write them."""

from __future__ import annotations

import re
from fractions import Fraction

from unstir.config import MOST_IMAGES, MOST_SECONDS
from unstir.errors import InputError

_NUMBER = r"(\d{1,20}(?:\.\d{1,20})?)"
_DURATION = re.compile("".join(f"(?:{_NUMBER}{unit})?" for unit in "dhms"), re.ASCII)
_SECONDS = (86_400, 3600, 60, 1)
_COUNT = re.compile(r"(\d{1,20}|\d{1,3}(?:[_,]\d{3}){1,6})(\.\d{1,20})?([kMG]?)", re.ASCII)
_FACTOR = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


def seconds_in(text: str) -> float:
    """Return the seconds of a duration such as ``90s``, ``30m``, ``1h30m`` or ``1.5h``.

    Raises:
        InputError: If it is none, or no time at all, or more than a run can have.
    """
    match = _DURATION.fullmatch(text.strip())
    parts = match.groups() if match else ()
    seconds = sum(float(part) * unit for part, unit in zip(parts, _SECONDS) if part)
    if seconds <= 0:
        raise InputError(f"--for takes a duration such as 90s, 30m or 1h30m, not '{text}'")
    if seconds > MOST_SECONDS:
        raise InputError(f"--for takes at most {duration(MOST_SECONDS)}, not '{text}'")
    return seconds


def count_in(text: str) -> int:
    """Return a count such as ``20000``, ``20,000``, ``500k`` or ``2M``.

    Raises:
        InputError: If it is none, no whole number, less than 1, or more than a run can have.
    """
    match = _COUNT.fullmatch(text.strip())
    digits = re.sub("[_,]", "", match[1]) + (match[2] or "") if match else "0"
    count = Fraction(digits) * _FACTOR[match[3] if match else ""]
    if count < 1 or count.denominator != 1:
        raise InputError(f"--images takes a count such as 20000, 500k or 2M, not '{text}'")
    if count > MOST_IMAGES:
        raise InputError(f"--images takes at most {MOST_IMAGES:,}, not '{text}'")
    return int(count)


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
    """Return a number of bytes in MB, GB or TB."""
    if count < 1e9:
        return f"{count / 1e6:.0f} MB"
    return f"{count / 1e9:.1f} GB" if count < 1e12 else f"{count / 1e12:,.1f} TB"
