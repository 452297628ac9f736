"""The entry point: runs the command and turns what goes wrong into one sentence and an exit code.

0 is success, 2 a wrong input or a disk that cannot be used, 130 an interruption. Only an error of ours shows a
traceback.
"""

from __future__ import annotations

import errno
import signal
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress

from unstir.cli import clock, streams  # noqa: F401  (the first starts the clock)
from unstir.cli.report import is_alone
from unstir.errors import InputError

WRONG, INTERRUPTED = 2, 130

LONGEST_WORD, LONGEST = 300, 1500
"""Letters of a word and of a whole sentence: of longer ones, which odd inputs make, the rest is left out."""


def main() -> None:
    """Run the command with the arguments of this process, and exit."""
    streams.mend()
    code = run(sys.argv[1:])
    if code == INTERRUPTED:  # one more Ctrl-C, on the interpreter's way out, changes nothing
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not is_alone():
        from unstir.processes import leave

        leave(code)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command with ``arguments``; return its exit code."""
    try:
        from unstir.cli.app import app

        code = app(list(arguments) or ["--help"], prog_name="unstir", standalone_mode=False)
        streams.put("", sys.stdout, end="")  # what the help, say, has left to be written
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        text = explanation(error)
        if text is None:
            raise
        with suppress(OSError):  # of a disk too full even for this there is no one to tell
            streams.put(f"unstir: {sentence(text)}", sys.stderr)
        return WRONG


def explanation(error: Exception) -> str | None:
    """Return what to tell the user about an error, or None if it is one of ours."""
    if isinstance(error, InputError):
        return str(error)
    if hasattr(error, "format_message"):  # of the parser: a wrong option, a missing argument
        context = getattr(error, "ctx", None)
        text = sentence(error.format_message())
        where = context.command_path if context else "unstir"
        return text if text.endswith("?") else f"{text[:-1]}; see {where} --help"
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        advice = "; give a shorter one" if error.errno == errno.ENAMETOOLONG else ""
        return f"{place}{error.strerror or error}{advice}"
    if not is_alone() and any(name in str(error) for name in ("gloo", "NCCL")):
        return "Another process of this job has ended: what it said tells why, and the same command goes on"
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "can't allocate" in str(error):
        return "There is not enough memory; try a smaller batch (--set training.batch=32, or --batch 16 to sample)"
    return None


def _cut(word: str) -> str:
    """Return a word without its middle: of a path the end says most."""
    half = LONGEST_WORD // 2
    return f"{word[:half]}...{word[-half:]}"


def sentence(text: str) -> str:
    """Return a text on one line with an end, without letters that a terminal would obey, and not endless.

    >>> sentence("There is no  file"), sentence("Did you mean 'x'?")
    ('There is no file.', "Did you mean 'x'?")
    """
    shown = "".join(c if c.isprintable() or c.isspace() else ascii(c)[1:-1] for c in text)
    words = [word if len(word) <= LONGEST_WORD else _cut(word) for word in shown.split()]
    text = textwrap.shorten(" ".join(words), LONGEST, placeholder=" ...").rstrip(". ")
    return text if text.endswith("?") else f"{text}."
