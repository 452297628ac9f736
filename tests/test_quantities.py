from __future__ import annotations

import pytest

from unstir.cli.main import explanation, sentence
from unstir.errors import InputError
from unstir.quantities import count_in, duration, seconds_in


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("1d2h3m4s", 93784),
        ("0.5s", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_in(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "m",
        "30 minutes",
        "-5m",
        "0m",
        "30m1h",
        "1h30",
        "nan",
        "infs",
        "٣m",
        "1_0s",
        "9" * 400 + "s",
        "1e3s",
        "99999d",
        "0." + "0" * 19 + "s",
    ],
)
def test_no_durations(text: str) -> None:
    with pytest.raises(InputError, match="--for"):
        seconds_in(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("20000", 20_000),
        ("500k", 500_000),
        ("2M", 2_000_000),
        ("1.5M", 1_500_000),
        ("20_000", 20_000),
        ("20,000", 20_000),
        ("1,234_567k", 1_234_567_000),
        ("0.001k", 1),
        ("4.35k", 4350),
        ("1000000G", 10**15),
    ],
)
def test_counts(text: str, count: int) -> None:
    assert count_in(text) == count


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k",
        "2m",
        "-1",
        "0",
        "0.2",
        "two",
        "1e6",
        "inf",
        "1.5",
        "1,,2",
        "1,2",
        ",1",
        "1_",
        "0.0001k",
        "²",
        "٣",
        "1000001G",
        "9" * 400,
        "1." + "0" * 400 + "1k",
        "1\u00a0000",
    ],
)
def test_no_counts(text: str) -> None:
    with pytest.raises(InputError, match="--images"):
        count_in(text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.25, "0.25 s"),
        (41.3, "41 s"),
        (60, "1 min"),
        (100, "100 s"),
        (1200, "20 min"),
        (3599.9, "1 h"),
        (5400, "1 h 30 min"),
        (200_000, "2 d 8 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_sentences() -> None:
    assert sentence("a\n  b..") == "a b."
    assert sentence("did you mean 'x'?") == "did you mean 'x'?"


def test_what_is_told_and_what_is_a_bug() -> None:
    assert explanation(OSError(28, "No space left on device", "runs/x")) == "runs/x: No space left on device"
    assert "memory" in (explanation(MemoryError()) or "")
    assert explanation(ValueError("ours")) is None
    assert explanation(InputError("theirs")) == "theirs"
