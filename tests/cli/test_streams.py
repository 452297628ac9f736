"""Standard streams may be closed, cut off, full or of a narrow encoding: a command does its work all the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from unstir.cli.main import LONGEST, sentence
from unstir.cli.report import Report

Command = Callable[..., "subprocess.CompletedProcess[str]"]

NOT_UTF8 = os.fsdecode(b"caf\xe9")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="closes streams as a shell does")


@pytest.fixture
def shell(cache: Path, workplace: Path) -> Command:
    """Run a line of the shell in which ``unstir`` is the command, where the tiny runs are."""

    def run(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
        line = line.replace("unstir", f"'{sys.executable}' -m unstir", 1)
        known = os.environ | {"OMP_NUM_THREADS": "1"} | environment
        ways = {"capture_output": True, "text": True, "timeout": 300, "env": known, "cwd": workplace}
        return subprocess.run(["bash", "-o", "pipefail", "-c", line], **ways)  # type: ignore[call-overload]

    return run


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed: str, shell: Command) -> None:
    answer = shell(f"unstir samplers {closed}")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert bool(answer.stdout) == (closed == "2>&-")
    assert shell(f"unstir sample missing {closed}").returncode == 2


@pytest.mark.parametrize("line", ["samplers", "recipes --json", "sample missing 2>&1"])
def test_a_reader_that_goes(line: str, shell: Command) -> None:
    whole, cut = shell(f"unstir {line}"), shell(f"unstir {line} | head -c 1")
    assert cut.stderr == ""
    assert cut.stdout == whole.stdout[0]
    assert cut.returncode == whole.returncode


@pytest.mark.slow
@pytest.mark.parametrize("unheard", [">&- 2>&-", "2>&- | true"])
def test_what_is_trained_unheard(unheard: str, shell: Command, workplace: Path) -> None:
    assert shell(f"unstir train digits --smoke --out runs/new {unheard}").returncode == 0
    assert (workplace / "runs/new/model.safetensors").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk(shell: Command) -> None:
    for line in ("samplers", "--help"):
        answer = shell(f"unstir {line} >/dev/full")
        assert (answer.returncode, answer.stderr) == (2, "unstir: No space left on device.\n")
    assert shell("unstir sample missing 2>/dev/full").returncode == 2


def test_letters_that_an_encoding_lacks(shell: Command) -> None:
    for name, shown in {"café 写": "caf\\xe9 \\u5199", NOT_UTF8: "caf\\udce9", "a\x1b[31m": "a\\x1b[31m"}.items():
        answer = shell(f"unstir sample '{name}'", PYTHONIOENCODING="ascii")
        assert answer.stderr == f"unstir: There is no run folder or model file at {shown}.\n"


def test_json_is_json_in_any_encoding(capsys: pytest.CaptureFixture[str]) -> None:
    Report(as_json=True).end("", {"out": f"écrit 写 {NOT_UTF8}"})
    said = capsys.readouterr().out
    assert said.isascii()
    assert json.loads(said) == {"out": f"écrit 写 {NOT_UTF8}"}


def test_a_sentence_is_one_line_and_not_endless() -> None:
    assert sentence("a\x1b[2Jb\x07\u202e") == "a\\x1b[2Jb\\x07\\u202e."
    assert sentence("naïve 写真 🦊") == "naïve 写真 🦊."
    assert len(sentence("9" * 10_000)) < 400
    assert len(sentence("many words " * 10_000)) <= LONGEST + 1
    assert sentence("a\udce9").encode() == b"a\\udce9."


@pytest.mark.slow
def test_a_name_that_is_not_utf8(workplace: Path, command: Command) -> None:
    answer = command("train", "digits", "--smoke", "--out", NOT_UTF8, folder=workplace)
    assert answer.returncode == 0, answer.stderr
    answer = command("sample", NOT_UTF8, "-n", "2", "--steps", "2", "--out", f"{NOT_UTF8}.png", folder=workplace)
    assert answer.returncode == 0, answer.stderr
    assert os.path.getsize(os.fsencode(workplace) + b"/caf\xe9.png") > 0
