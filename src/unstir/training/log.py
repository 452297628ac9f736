"""The record of a run: metrics.jsonl, TensorBoard events, and the progress bar."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from unstir.errors import InputError, counted
from unstir.files import whole_file
from unstir.training.run_folder import RunFolder

_log = logging.getLogger(__name__)


class RunLog:
    """Writes what a run measures. A context manager: inside it a terminal shows the progress bar.

    Args:
        folder: The run folder.
        step: The step the run goes on from; lines of later steps, left by a killed process, are dropped.
        what: What is trained, for the progress bar.
        main: Whether this is the main process; the others write nothing.
    """

    def __init__(self, folder: RunFolder, step: int, what: str, main: bool = True) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._main = main
        if main:
            keep = [line for line in lines(folder.metrics) if line["step"] <= step]
            with whole_file(folder.metrics) as partial:
                partial.write_text("".join(json.dumps(line) + "\n" for line in keep))
            self._events = None
            with _writing(folder.metrics), suppress(UnicodeEncodeError):  # TensorBoard takes UTF-8 names alone
                self._file = folder.metrics.open("a")
                self._events = SummaryWriter(str(folder.path), purge_step=step + 1)
        self._bar = Progress(
            TextColumn(f"training {what}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
            console=Console(stderr=True),
            disable=not (main and sys.stderr.isatty()),
        )
        self._task = self._bar.add_task("training", total=1.0, rate="", loss="")

    def __enter__(self) -> RunLog:
        """Show the progress bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files and the bar."""
        self._bar.stop()
        if not self._main:
            return
        # After an error, closing must not put the failure to write the rest in its place.
        with suppress(OSError) if error else _writing(Path(self._file.name)):
            try:
                self._file.close()
            finally:
                if self._events:
                    self._events.close()

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Write one line of numbers.

        Raises:
            InputError: If the disk is full.
        """
        if not self._main:
            return
        with _writing(Path(self._file.name)):
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
            for name, value in values.items() if self._events else ():
                self._events.add_scalar(name, value, step)

    def advance(self, progress: float) -> None:
        """Move the progress bar to this part of the budget."""
        self._bar.update(self._task, completed=progress)

    def show(self, progress: float, images_per_second: float, losses: Mapping[str, float]) -> None:
        """Say beside the progress bar what was measured, and move it."""
        text = "  ".join(f"{name.replace('_', ' ')} {loss:.4f}" for name, loss in losses.items())
        self._bar.update(self._task, completed=progress, rate=f"{images_per_second:,.0f} images/s", loss=text)

    def show_picture(self, path: Path) -> None:
        """Say above the progress bar which picture is the newest."""
        if not self._bar.disable:
            self._bar.console.print(f"newest picture: {path}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} could not be written: {error.strerror or error}") from None


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log; what a kill or a power cut left in the place of one is dropped."""
    if not path.exists():
        return []
    found, lost = [], 0
    whole, _, _ = path.read_bytes().rpartition(b"\n")  # what follows is of a kill
    for line in whole.splitlines():
        try:
            values = json.loads(line)
            good = isinstance(values, dict) and isinstance(values.get("step"), int)
        except (ValueError, RecursionError):
            good = False
        if good:
            found.append(values)
        lost += not good
    if lost:
        _log.warning("%s: what is damaged of it is left out, %s", path, counted(lost, "line"))
    return found
