"""A progress bar is for a person who looks on: in a terminal, and not in a file."""

from __future__ import annotations

import io

import pytest

from unstir.progress import tracked


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "shown"), [(Terminal(), True), (io.StringIO(), True), (Terminal(), False)])
def test_a_bar_is_seen_in_a_terminal_alone(
    stream: io.StringIO, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    assert list(tracked(iter("abc"), 3, "counting", shown)) == ["a", "b", "c"]
    assert ("counting" in stream.getvalue()) == (stream.isatty() and shown)
