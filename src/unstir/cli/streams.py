"""Standard streams: closed, cut off, or of an encoding that lacks a letter, they stop no command."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def mend() -> None:
    """Open what is closed on nothing, and have what an encoding lacks written by its number; once, at first."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in order: each takes its own number
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
        elif name != "stdin":
            stream.reconfigure(errors="backslashreplace")


def put(text: str, stream: TextIO, end: str = "\n") -> None:
    """Write a line at once; if whoever read has gone, as ``head`` does, the work goes on without being heard.

    Raises:
        OSError: If it cannot be written for another reason, such as a full disk.
    """
    try:
        print(text, file=stream, end=end, flush=True)
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)  # also for what is still held back
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        if not isinstance(error, BrokenPipeError):
            raise
