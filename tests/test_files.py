"""Files are read or refused, written whole or not at all; a folder is held by one process."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unstir.errors import InputError
from unstir.files import _sweep, from_yaml, held, read_text, read_yaml, scratch, visible, whole_file


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "x.txt"
    with whole_file(path) as partial:
        partial.write_text("old")
        assert not path.exists()
        assert not visible(path.parent)
    with pytest.raises(KeyError), whole_file(path) as partial:
        partial.write_text("new, but")
        raise KeyError
    with pytest.raises(InputError, match=r"x\.txt could not be written"), whole_file(path) as partial:
        partial.write_text("new, but")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
    with whole_file(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="could not be written"), whole_file(tmp_path / "file" / "x") as partial:
        partial.write_text("")


def test_a_name_may_be_as_long_as_the_disk_takes_it(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    with whole_file(path) as partial:
        partial.write_text("whole")
    assert path.read_text() == "whole"
    with (
        pytest.raises(InputError, match="could not be written: File name too long"),
        whole_file(tmp_path / ("x" * 256)) as partial,
    ):
        partial.write_text("whole")


def test_what_killed_processes_left_goes_and_all_else_stays(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = platform.node()
    stay = [
        f".partial-{host}-{os.getpid()}-abc",  # of a process that runs
        f".partial-elsewhere-{gone.pid}-abc",  # of another machine
        ".partial-mine",
        "x.partial-1",
    ]
    for name in (*stay, f".partial-{host}-{gone.pid}-abc", f".partial-{host}-{gone.pid}-_x9"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("x")
    _sweep.cache_clear()
    with scratch(tmp_path) as folder:
        assert folder.parent == tmp_path
        assert {place.name for place in tmp_path.iterdir()} == {*stay, folder.name}
    assert {place.name for place in tmp_path.iterdir()} == {*stay}


# Held folders

HOLDS = """
import sys, time
from pathlib import Path
from unstir.errors import InputError
from unstir.files import held
try:
    with held(Path(sys.argv[1]), "trains in it"):
        Path(sys.argv[1], "made").write_text("")
        print("held", flush=True)
        time.sleep(60)
except InputError as error:
    print(error)
"""


def _holder(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, text=True)


def test_a_folder_is_held_by_one_process_until_it_ends_however_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "x"
    for end in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        first = _holder(folder)
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        with (
            pytest.raises(InputError, match="x is in use: another process trains in it"),
            held(folder, "trains in it"),
        ):
            pass
        assert _holder(folder).communicate()[0].startswith(f"{folder} is in use")
        first.send_signal(end)
        first.wait()
    with held(folder, "trains in it"):
        assert [place.name for place in visible(folder)] == ["made"]


def test_a_held_folder_that_stays_empty_goes(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with pytest.raises(KeyError), held(folder, "waits"):
        raise KeyError
    assert not folder.exists()
    folder.mkdir()
    (folder / ".mine").write_text("x")
    with held(folder, "waits"):
        pass
    assert [place.name for place in folder.iterdir()] == [".mine"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file cannot be written"), held(tmp_path / "file", "waits"):
        pass


# Reading


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "bytes", "device"])
def test_what_is_no_text_is_told_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "bytes":
        path.write_bytes(b"a: \xff\xfe\x00")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    began = time.monotonic()
    for read in (read_text, read_yaml):
        with pytest.raises(InputError, match=r"x\.yaml cannot be read: [^\n]+$"):
            read(path)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "[1]",
        "a: [",
        "\x00\x01",
        "a: \t- b",
        "1: 2",
        "when: 2026-99-99",
        "a: " + "[" * 5000,
        "a: " + "{b: " * 5000,
        "a: &a [1]\nb: *a",
        "a: &a [*a]",
        "a: !!python/object/apply:os.system [exit]",
        "a: !new 1",
        "? [1]\n: 2",
        "a: " + "9" * 5000,
        "a: 2026-01-01T00:00:00+99:99",
    ],
    ids=range(17),
)
def test_yaml_that_holds_no_values_by_name_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=r"x\.yaml cannot be read: [^\n]{5,400}$"):
        read_yaml(tmp_path / "x.yaml")


def test_yaml_is_read() -> None:
    assert from_yaml("a: [1, 2.5, null, true]\nb: {c: 'text'}") == {"a": [1, 2.5, None, True], "b": {"c": "text"}}
