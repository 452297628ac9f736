"""One progress bar on standard error, shown where a person sees it: in a terminal or a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


def tracked(items: Iterable[Item], total: int, text: str, shown: bool = True) -> Iterator[Item]:
    """Yield ``items`` under a bar of ``total`` steps that says ``text`` and the time left."""
    with counter(total, text, shown) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def counter(total: int, text: str, shown: bool = True) -> Iterator[Callable[[], None]]:
    """Show a bar of ``total`` steps that says ``text`` and the time left; give what moves it a step on."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not (shown and (sys.stderr.isatty() or console.is_jupyter)):
        yield lambda: None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(text, total=total)
        yield lambda: bar.advance(task)
