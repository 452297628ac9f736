"""What a command says: sentences, a table, and its last line; or under ``--json`` one object."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from unstir.cli.streams import put
from unstir.files import write_new


def is_alone() -> bool:
    """Whether no other process shares this job, by what torchrun and accelerate tell each of theirs; no torch."""
    return os.environ.get("WORLD_SIZE", "1") == "1"


class Report:
    """Says what a command does and found.

    Of several processes of one run only the first speaks.

    Args:
        as_json: Whether standard output gets one JSON object alone; sentences then go to standard error.

    Attributes:
        speaks: Whether this process is the first.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.speaks = os.environ.get("RANK", "0") == "0"

    def say(self, text: str) -> None:
        """Say something on the way."""
        if self.speaks and text:
            put(text, sys.stderr if self.as_json else sys.stdout)

    def table(self, rows: Iterable[Sequence[str]]) -> None:
        """Show a table, a line for each row; under ``--json`` nothing."""
        if self.as_json or not self.speaks:
            return
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*map(Text, row))
        console = Console(width=None if sys.stdout.isatty() else 10_000)
        with console.capture() as captured:
            console.print(table)
        put("\n".join(line.rstrip() for line in captured.get().splitlines()), sys.stdout)

    def keep(self, place: Path, values: dict[str, Any], rows: Iterable[Sequence[str]]) -> None:
        """Write figures to a new file and tell them: what took long is told even where the disk is full."""
        text, saved = json.dumps(values, indent=2) + "\n", None
        try:
            saved = write_new(place, lambda partial: partial.write_text(text))
        finally:
            self.table(rows)
            if saved or self.as_json:
                self.end(f"The figures are in {saved}", values | {"saved": saved and str(saved)})

    def end(self, text: str, values: dict[str, Any]) -> None:
        """Say the last line, or the JSON object."""
        if self.speaks:
            put(json.dumps(values) if self.as_json else text, sys.stdout)
