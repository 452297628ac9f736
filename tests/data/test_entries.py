"""Entries are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unstir.cache import cache_folder
from unstir.data import build as build_module
from unstir.data import load as load_module
from unstir.data.config import DataConfig
from unstir.data.load import load
from unstir.errors import InputError
from unstir.files import _place, sweep


def entries() -> list[Path]:
    return sorted((cache_folder() / "images").iterdir())


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every image decoded from here on."""
    decoded: list[object] = []
    original = build_module.decoded

    def counting(encoded: object, *rest: object) -> np.ndarray:
        decoded.append(encoded)
        return original(encoded, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(build_module, "decoded", counting)
    return decoded


def test_images_are_decoded_once(photos: Callable[..., Path], decodes: list[object]) -> None:
    config = DataConfig(source=str(photos("a.png", "b.png", "c.png")))
    first, again = load(config), load(config.model_copy(update={"flip": True, "corrupt_limit": 0}))
    assert len(decodes) == 3 and len(entries()) == 1
    for a, b in ((first.train, again.train), (first.held_out, again.held_out)):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        assert a.fingerprint == b.fingerprint
    assert not first.train.pixels.flags.writeable


def test_each_transform_has_its_entry(photos: Callable[..., Path], decodes: list[object]) -> None:
    folder = str(photos("a.png", "b.png"))
    shapes = {load(DataConfig(source=folder, **kw)).train.shape for kw in ({}, {"size": 4}, {"channels": 1})}  # type: ignore[arg-type]
    assert shapes == {(3, 6, 5), (3, 4, 4), (1, 6, 5)} and len(decodes) == 6


def test_a_changed_file_is_decoded_again(photos: Callable[..., Path]) -> None:
    folder = photos("a.png", "b.png")
    before = load(DataConfig(source=str(folder)))
    photos("a.png", "b.png", seed=1)
    os.utime(folder / "a.png", ns=(5, 5))
    assert load(DataConfig(source=str(folder))).train.fingerprint != before.train.fingerprint


def test_the_fingerprint_follows_content_not_place(photos: Callable[..., Path], tmp_path: Path) -> None:
    folder = photos("x/a.png", "y/b.png", "y/c.png")
    there = load(DataConfig(source=str(folder)))
    folder.rename(tmp_path / "moved")
    here = load(DataConfig(source=str(tmp_path / "moved")))
    assert (here.train.fingerprint, here.held_out.fingerprint) == (
        there.train.fingerprint,
        there.held_out.fingerprint,
    )
    assert here.train.fingerprint != here.held_out.fingerprint


@pytest.mark.parametrize("damage", ["pixels", "column-0", "entry.json", "gone"])
def test_a_damaged_entry_is_made_again(photos: Callable[..., Path], decodes: list[object], damage: str) -> None:
    config = DataConfig(source=str(photos("x/a.png", "y/b.png", "y/c.png")))
    whole = load(config).train.pixels.copy()
    (entry,) = entries()
    if damage == "gone":
        (entry / "column-0").unlink()
    else:
        data = (entry / damage).read_bytes()
        (entry / damage).write_bytes(data[: len(data) // 2])
    np.testing.assert_array_equal(load(config).train.pixels, whole)
    assert len(decodes) == 6 and entries() == [entry]


@pytest.mark.parametrize("column", range(3))
def test_a_damaged_column_is_made_again(tmp_path: Path, column: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
    numbers = np.arange(15.0).reshape(5, 3)
    np.savez(tmp_path / "set.npz", images=pixels, a=numbers, b=numbers[:, :, None], c=pixels)
    config = DataConfig(source=str(tmp_path / "set.npz"))
    whole = load(config).train
    assert [c.kind for c in whole.columns.values()] == ["numbers", "embedding", "picture"]
    path = entries()[0] / f"column-{column}"
    path.write_bytes(path.read_bytes()[:-4])
    again = load(config).train
    for name, known in whole.columns.items():
        np.testing.assert_array_equal(again.columns[name].array, known.array)


IMPORTS = """
import os, signal, sys, time
from unstir.data import build
from unstir.data.config import DataConfig
from unstir.data.load import load
"""
"""What a process of a test's own begins with."""


def test_a_killed_job_leaves_no_entry(photos: Callable[..., Path]) -> None:
    folder = photos(*(f"{i}.png" for i in range(200)))
    code = (
        f"{IMPORTS}"
        "add, count = build._Store.add, []\n"
        "def kill(self, *image):\n"
        "    count.append(1)\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if len(count) > 100 else add(self, *image)\n"
        "build._Store.add = kill\n"
        "load(DataConfig(source=sys.argv[1]))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(folder)]).returncode == -signal.SIGKILL
    (left,) = entries()
    assert left.name.startswith(".partial-")
    sweep.cache_clear()  # as in another process
    assert len(load(DataConfig(source=str(folder))).train) == 190
    assert left not in entries() and len(entries()) == 1


def test_what_a_job_left_that_was_killed_behind_a_whole_entry_goes_too(photos: Callable[..., Path]) -> None:
    config = DataConfig(source=str(photos("a.png", "b.png", "c.png")))
    load(config)
    (entry,) = entries()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (entry.parent / f".partial-{_place()}-{gone.pid}-abc" / "scratch").mkdir(parents=True)
    sweep.cache_clear()  # as in another process
    load(config)
    assert entries() == [entry]


def test_ctrl_c_leaves_nothing(photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build_module._Store, "add", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load(DataConfig(source=str(photos("a.png", "b.png"))))
    assert entries() == []


def test_ctrl_c_waits_for_no_picture(photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    started, interrupted = [], threading.Event()

    def slow(*_: object) -> np.ndarray:
        started.append(time.monotonic())
        if len(started) == 1:
            to_main = [threading.main_thread().ident, signal.SIGINT]
            threading.Timer(0.1, signal.pthread_kill, to_main).start()
        interrupted.wait(30)  # as a picture that takes so long
        return np.zeros((3, 6, 5), np.uint8)

    monkeypatch.setattr(build_module, "decoded", slow)
    folder = photos(*(f"{i}.png" for i in range(300)))
    with pytest.raises(KeyboardInterrupt):
        load(DataConfig(source=str(folder)))
    assert time.monotonic() - started[0] < 2 and entries() == []
    # Threads end with the picture that they have in hand, and begin no other.
    in_hand = len(started)
    interrupted.set()
    time.sleep(0.3)
    assert in_hand == len(started) <= 2 * (os.cpu_count() or 1)


def test_a_process_that_is_interrupted_ends(photos: Callable[..., Path]) -> None:
    folder = photos(*(f"{i}.png" for i in range(5)))
    code = (
        f"{IMPORTS}"
        "build.decoded = lambda *_: (print('decoding', flush=True), time.sleep(60))\n"
        "load(DataConfig(source=sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None and process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT  # Python's own end takes a second or two
    assert entries() == []


@pytest.mark.parametrize("damaged", [False, True])
def test_two_jobs_at_once_do_no_harm(
    photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    config = DataConfig(source=str(photos("a.png", "b.png", "c.png")))
    if damaged:
        load(config)
        (entries()[0] / "pixels").write_bytes(b"")
    original, inner = load_module.build, []

    def meanwhile(*arguments: object) -> None:
        original(*arguments)  # type: ignore[arg-type]
        if not inner:
            inner.append(None)
            inner.append(load(config))

    monkeypatch.setattr(load_module, "build", meanwhile)
    outer = load(config)
    np.testing.assert_array_equal(outer.train.pixels, inner[1].train.pixels)
    assert len(entries()) == 1 and not entries()[0].name.startswith(".")


def test_a_full_disk_is_told(photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(build_module._Store, "add", full)
    with pytest.raises(InputError, match=f"{cache}.*full.*UNSTIR_CACHE"):
        load(DataConfig(source=str(photos("a.png", "b.png"))))
    assert entries() == []


def test_a_cache_that_cannot_be_made_is_told(
    photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"file.*UNSTIR_CACHE"):
        load(DataConfig(source=str(photos("a.png", "b.png"))))


def _edited(**changes: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda stored: stored | changes


def _column(**changes: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda stored: stored | {"columns": [stored["columns"][0] | changes, *stored["columns"][1:]]}


ODD = {
    **{f"a whole of {value!r}": lambda _, value=value: value for value in ([], {}, None, 3, "x", [1, 2], True)},
    **{
        f"shape {value}": _edited(shape=value)
        for value in (5, [], [4], [4, 3, 6], [2, 3, 6, 5], [4, 3, 6, -5], "4")
    },
    **{f"train {value}": _edited(train=value) for value in (-1, 0, 4, 99, "x", None, [1], 1.5)},
    **{f"columns {value}": _edited(columns=value) for value in (3, None, [3], [[]], [{}], [{"name": "x"}])},
    **{f"skipped {value}": _edited(skipped=value) for value in (1, None, ["x"], [["a"]], [[1, 2]], {"a": "b"})},
    **{f"prints {value}": _edited(fingerprints=value) for value in (None, "ab", ["a"], [1, 2], ["a", "b", "c"])},
    **{f"note {value}": _edited(note=value) for value in (1, None, ["x"])},
    **{f"kind {value}": _column(kind=value) for value in ("odd", None, 3, "numbers", "text", "picture")},
    **{f"column's shape {value}": _column(shape=value) for value in (4, [7], [1], [-3], ["x"], None)},
    **{f"classes {value}": _column(classes=value) for value in (["x"], [], [1, 2], "xy", None)},
    **{f"complete {value}": _column(complete=value) for value in ([], [True], 1, ["x", "y"])},
    "texts": lambda stored: _edited(columns=[*stored["columns"], {"name": "t", "kind": "text", "texts": ["a"]}])(
        stored
    ),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_description_is_made_anew_which_is_said(
    photos: Callable[..., Path], decodes: list[object], odd: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = DataConfig(source=str(photos("x/a.png", "x/b.png", "y/c.png", "y/d.png")))
    whole = load(config).train
    place = entries()[0] / "entry.json"
    place.write_text(json.dumps(ODD[odd](json.loads(place.read_text()))))
    again = load(config).train
    assert again.fingerprint == whole.fingerprint and len(decodes) == 8 and entries() == [place.parent]
    assert again.labels is not None and again.labels.tolist() == whole.labels.tolist()  # type: ignore[union-attr]
    assert "is damaged, and made anew" in caplog.text
    caplog.clear()
    load(config)
    assert len(decodes) == 8 and not caplog.records


@pytest.mark.parametrize("content", [b"", b"\0" * 300, b"{" * 100_000, b"[" * 100_000, b"\xff\xfe", b'{"shape": '])
def test_a_description_that_is_none(photos: Callable[..., Path], decodes: list[object], content: bytes) -> None:
    config = DataConfig(source=str(photos("x/a.png", "x/b.png")))
    load(config)
    (entries()[0] / "entry.json").write_bytes(content)
    load(config)
    assert len(decodes) == 4


@pytest.mark.parametrize("name", ["pixels", "column-0"])
@pytest.mark.parametrize("change", [b"", None, b"more", "folder"])
def test_files_of_another_size(
    photos: Callable[..., Path], decodes: list[object], name: str, change: bytes | str | None
) -> None:
    config = DataConfig(source=str(photos("x/a.png", "x/b.png", "y/c.png")))
    whole = load(config).train
    place = entries()[0] / name
    content = place.read_bytes()
    place.unlink()
    if change == "folder":
        place.mkdir()
    else:
        place.write_bytes(content[:-1] if change is None else content + change if change else b"")
    assert load(config).train.fingerprint == whole.fingerprint and len(decodes) == 6
    assert (entries()[0] / name).read_bytes() == content
