"""One progress bar on standard error, silent where standard error is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def tracked(items: Iterable[Item], total: int, text: str, shown: bool = True) -> Iterator[Item]:
    """Yield ``items`` with a bar that says ``text``, the share done and the time left; ``total`` items in all."""
    from rich.console import Console
    from rich.progress import track

    shown = shown and sys.stderr.isatty()
    yield from track(
        items, text, total, console=Console(stderr=True), disable=not shown, transient=True, show_speed=False
    )
