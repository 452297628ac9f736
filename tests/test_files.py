"""Files are read or refused, written whole or not at all; a folder is held by one process."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from unstir.errors import InputError
from unstir.files import (
    _place,
    from_yaml,
    held,
    new_folder,
    read_text,
    read_yaml,
    scratch,
    sweep,
    visible,
    whole_file,
    write_new,
)


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
    host = _place()
    stay = [
        f".partial-{host}-{os.getpid()}-abc",  # of a process that runs
        f".partial-elsewhere-{gone.pid}-abc",  # of another machine
        ".partial-mine",
        "x.partial-1",
    ]
    for name in (*stay, f".partial-{host}-{gone.pid}-abc", f".partial-{host}-{gone.pid}-_x9"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("x")
    sweep.cache_clear()
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


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, None])
def test_a_disk_that_knows_no_locks_is_used_without(
    error: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(error, "no locks") if error else NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with held(tmp_path / "run", "trains in it"):
        (tmp_path / "run" / "made").touch()
    assert "knows no locks: see to it that nothing else writes there" in caplog.text
    assert (tmp_path / "run" / "made").exists()


def test_a_lock_that_fails_otherwise_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(InputError, match="cannot be written: Input/output error"), held(tmp_path / "run", "waits"):
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


@pytest.mark.parametrize("name", ["x.txt", "写" * 83 + ".txt", "a" * 251 + ".txt"])
def test_any_name_that_a_disk_takes(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with whole_file(path) as partial:
        partial.write_text("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_takes_a_name_that_nothing_has(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", unable)
    (tmp_path / "x-2.txt").mkdir()
    taken = [write_new(tmp_path / "x.txt", lambda partial, i=i: partial.write_text(str(i))) for i in range(3)]
    assert [path.name for path in taken] == ["x.txt", "x-3.txt", "x-4.txt"]
    assert [path.read_text() for path in taken] == ["0", "1", "2"]
    assert {*tmp_path.iterdir()} == {*taken, tmp_path / "x-2.txt"}
    with pytest.raises(InputError, match="could not be written: No space left"):
        write_new(tmp_path / "x.txt", full)
    with pytest.raises(KeyError):
        write_new(tmp_path / "x.txt", lambda _: {}["missing"])
    assert {*tmp_path.iterdir()} == {*taken, tmp_path / "x-2.txt"}


def unable(path: Path, target: Path) -> None:
    if path.exists():
        raise FileExistsError(17, "File exists")
    raise OSError(95, "Operation not supported")


def full(path: Path) -> None:
    raise OSError(28, "No space left on device")


def writes(start: Barrier, place: Path, number: int) -> None:
    start.wait()
    write_new(place / "x.txt", lambda partial: partial.write_text(str(number)))
    start.wait()
    with new_folder(place / "folder") as folder:
        (folder / "x.txt").write_text(str(number))
        start.wait()


def test_many_at_once_take_a_name_each(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(8)
    for turn in range(5):
        place = tmp_path / str(turn)
        place.mkdir()
        every = [context.Process(target=writes, args=(start, place, number)) for number in range(8)]
        for one in every:
            one.start()
        for one in every:
            one.join(60)
            assert one.exitcode == 0
        assert len([*place.iterdir()]) == 16
        assert sorted(path.read_text() for path in place.glob("*.txt")) == [*"01234567"]
        assert sorted(path.read_text() for path in place.glob("*/x.txt")) == [*"01234567"]
        assert not [*place.rglob(".*")]


def test_a_folder_is_new_if_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "file").write_text("")
    for name, expected in {"empty": "empty", "held": "held-2", "a/b": "a/b", "held/file": "held/file-2"}.items():
        with new_folder(tmp_path / name) as folder:
            assert folder == tmp_path / expected
            (folder / "mine").write_text("")
        assert [*folder.iterdir()] == [folder / "mine"]
    with pytest.raises(InputError, match="could not be written"), new_folder(tmp_path / "held/file/x"):
        pass
