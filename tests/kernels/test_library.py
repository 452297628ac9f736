from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from unstir.kernels import library as module
from unstir.kernels.attention import attention
from unstir.kernels.library import library
from unstir.kernels.norm import norm

kernels = pytest.mark.skipif(library() is None, reason="the kernels need Linux and a C++ compiler")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder, empty, that a library that is asked for now will be in."""
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path / "cache"))
    library.cache_clear()
    yield tmp_path / "cache" / "kernels"
    library.cache_clear()  # the next test gets the library of the environment that comes back


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a shell script the compiler."""

    def use(script: str) -> None:
        path = tmp_path / "compiler"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("CXX", str(path))

    return use


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*")] if folder.exists() else []


def assert_pytorch_does_it() -> None:
    """Check that what the kernels do works without them, gradients included."""
    x = torch.randn(2, 8, 3, 5, requires_grad=True)
    y, same = norm(x, torch.ones(8), torch.zeros(8), 2, silu=True, dropout=0.5)
    q, k, v = torch.randn(3, 1, 2, 9, 4, requires_grad=True).unbind()
    (y.sum() + (same * x.detach()).sum() + attention(q, k, v).sum()).backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
    assert 0 < int((y == 0).sum()) < y.numel()
    expected = (q @ k.transpose(-1, -2) / 2).softmax(-1) @ v
    torch.testing.assert_close(attention(q, k, v), expected)


@kernels
def test_it_is_compiled_once_to_a_whole_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = library()
    assert first is not None
    (name,) = files(cache)
    assert name.endswith(".so")
    with torch.no_grad():
        y, _ = norm(torch.randn(2, 8, 4, 4), torch.ones(8), torch.zeros(8), 2)
    assert y.reshape(2, 2, -1).mean(2).abs().max() < 1e-5

    def refuse(*args: object) -> None:
        raise AssertionError("it was compiled again")

    monkeypatch.setattr(module, "_compile", refuse)
    assert library() is first
    library.cache_clear()
    assert library() is not None
    assert files(cache) == [name]
    # Numbers too small to be normal stay what they are.
    assert (torch.full((100,), 1e-40) * 1).min() > 0
    assert float("5e-324") * 1.0 > 0


@pytest.fixture
def copier(compiler: Callable[[str], None], tmp_path: Path) -> Path:
    """Make a compiler that copies what the right one made; each time it writes a line to the file returned."""
    loaded, calls = library(), tmp_path / "calls"
    assert loaded is not None
    kept = tmp_path / "kept.so"
    shutil.copy(loaded._name, kept)
    compiler(
        'case "$*" in *--version) echo 1.0; exit 0;; esac\n'
        f'echo >> "{calls}"\n'
        f'for name; do [ "$last" = -o ] && cp "{kept}" "$name"; last="$name"; done'
    )
    return calls


@kernels
@pytest.mark.parametrize("damage", ["empty", "cut", "one bit", "text"])
def test_a_damaged_library_is_compiled_anew(damage: str, copier: Path, cache: Path) -> None:
    """Loading a part of one would end the program."""
    assert library() is not None
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    flipped = whole[:-9000] + bytes([whole[-9000] ^ 1]) + whole[-8999:]
    path.unlink()  # it is loaded: another file, as a power cut leaves one
    path.write_bytes({"empty": b"", "cut": whole[:9000], "one bit": flipped, "text": b"x" * 100}[damage])
    library.cache_clear()
    assert library() is not None
    assert path.read_bytes() == whole
    assert files(cache) == [path.name]
    assert copier.read_text() == "\n\n"


@kernels
def test_a_compiler_may_be_named_with_arguments(
    copier: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", f"env {os.environ['CXX']} -pipe")
    assert library() is not None
    assert copier.read_text() == "\n"
    library.cache_clear()
    monkeypatch.setenv("CXX", "g++ 'without an end")
    assert library() is None


@kernels
def test_numbers_too_small_to_be_normal_stay_in_a_fresh_thread() -> None:
    assert library() is not None
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert (torch.full((2**20,), 1e-40) * 1).min() > 0
    finally:
        torch.set_num_threads(before)


@kernels
def test_it_runs_on_pytorchs_threads() -> None:
    loaded, before = library(), torch.get_num_threads()
    assert loaded is not None
    try:
        for count in (3, 1, 2):
            torch.set_num_threads(count)
            assert loaded.omp_get_max_threads() == count
    finally:
        torch.set_num_threads(before)


@kernels
def test_another_source_or_flag_makes_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    assert compiler is not None
    command = shlex.split(compiler)
    keys = [module._key(command, module.FLAGS), module._key(command, [*module.FLAGS, "-O2"])]
    for name in ("SOURCES", "HEADERS"):
        paths = getattr(module, name)
        assert paths
        changed = tmp_path / paths[-1].name
        changed.write_text(paths[-1].read_text() + "\n")
        with monkeypatch.context() as patch:
            patch.setattr(module, name, [*paths[:-1], changed])
            keys.append(module._key(command, module.FLAGS))
    assert len(set(keys)) == 4
    assert module._key(command, module.FLAGS) == keys[0]


def test_without_a_compiler_there_is_none(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    assert library() is None
    assert files(cache) == []
    assert_pytorch_does_it()


FAILURES = {
    "no such file": None,
    "does not start": "exit 127",
    "does not compile": '[ "$1" = --version ] && echo 1.0 && exit 0\nexit 1',
    "dies while it writes": """
[ "$1" = --version ] && echo 1.0 && exit 0
for name; do [ "$last" = -o ] && echo half > "$name"; last="$name"; done
kill -9 $$""",
}


@pytest.mark.parametrize("failure", FAILURES)
def test_with_a_broken_compiler_there_is_none(
    failure: str, cache: Path, compiler: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = FAILURES[failure]
    if script is None:
        monkeypatch.setenv("CXX", str(tmp_path / "missing"))
    else:
        compiler(script)
    assert library() is None
    assert files(cache) == []
    assert_pytorch_does_it()


def test_what_compiles_to_no_library_is_none(cache: Path, compiler: Callable[[str], None]) -> None:
    compiler(
        '[ "$1" = --version ] && exit 0\n'
        'for name; do [ "$last" = -o ] && echo no library > "$name"; last="$name"; done'
    )
    assert library() is None
    assert_pytorch_does_it()


def test_without_a_folder_to_write_to_there_is_none(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("UNSTIR_CACHE", str(tmp_path / "file"))
    assert library() is None
    assert_pytorch_does_it()


def test_without_a_home_there_is_none(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a number that no user has."""

    def unknown(user: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {user}")

    for name in ("UNSTIR_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert library() is None
    assert_pytorch_does_it()


def test_elsewhere_than_on_linux_there_is_none(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a program was run")

    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(subprocess, "run", refuse)
    assert library() is None
    assert files(cache) == []
