"""One progress bar on standard error, silent where standard error is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def tracked(items: Iterable[Item], total: int, text: str, shown: bool = True) -> Iterator[Item]:
    """Yield ``items`` under a bar of ``total`` steps that says ``text`` and the time left."""
    if not (shown and sys.stderr.isatty()):
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, text, total, console=Console(stderr=True), transient=True)
