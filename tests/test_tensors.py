"""A file of tensors is read as it was written, or refused in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unstir import tensors as module
from unstir.errors import InputError
from unstir.tensors import About, read_about, read_tensors, tensors_hash, write_tensors

TOLD = {"number": 1.1, "text": "\u00e4\n", "nested": {"list": [1, None, True]}}


def _tensors() -> dict[str, torch.Tensor]:
    return {
        "a": torch.arange(6.0).reshape(2, 3),
        "b.c": torch.tensor(3),
        "half": torch.rand(4, 3, 2, 2).bfloat16().contiguous(memory_format=torch.channels_last),
        "empty": torch.zeros(0, 3),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    write_tensors(tmp_path / "x.safetensors", _tensors(), TOLD)
    return tmp_path / "x.safetensors"


def test_what_is_written_is_read(path: Path) -> None:
    torch.manual_seed(0)
    about, tensors = read_tensors(path)
    expected = _tensors()
    assert about == read_about(path) == About(TOLD, tensors_hash(expected), frozenset(expected))
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())
    assert all(tensors[name].dtype == value.dtype for name, value in expected.items())


@pytest.mark.slow
def test_what_is_equal_is_written_in_equal_bytes(tmp_path: Path) -> None:
    """By any process, whatever its own order of hashes."""
    code = (
        "import sys, torch; from pathlib import Path; from unstir.tensors import write_tensors; "
        "write_tensors(Path(sys.argv[1]), {n: torch.ones(3) for n in 'abcdefgh'}, {'x': 1, 'y': [2], 'z': {}})"
    )
    for i in range(2):
        environment = {**os.environ, "PYTHONHASHSEED": str(i)}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / f"{i}")], check=True, env=environment)
    assert len({place.read_bytes() for place in tmp_path.iterdir()}) == 1


def test_a_hash_is_of_names_shapes_types_and_values() -> None:
    tensors = {"a": torch.arange(6.0), "b": torch.tensor(3)}
    expected = tensors_hash(tensors)
    assert len(expected) == 32
    assert tensors_hash(dict(reversed(tensors.items()))) == expected
    last = torch.channels_last
    image = torch.rand(2, 3, 4, 5)
    assert tensors_hash({"x": image}) == tensors_hash({"x": image.contiguous(memory_format=last)})
    assert tensors_hash({"x": torch.ones(3).bfloat16()})
    for other in (
        {"a": tensors["a"], "c": tensors["b"]},
        {"a": tensors["a"].reshape(2, 3), "b": tensors["b"]},
        {"a": tensors["a"].double(), "b": tensors["b"]},
        {"a": tensors["a"] + 1e-6, "b": tensors["b"]},
        {"a": tensors["a"].flip(0), "b": tensors["b"]},
        {"a": tensors["a"]},
    ):
        assert tensors_hash(other) != expected


def test_any_flipped_bit_is_told(path: Path) -> None:
    """Every bit of the head, which holds what is told, and some of the tensors'."""
    whole = path.read_bytes()
    head = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(0, 8 * head), *range(8 * head, 8 * len(whole), 7)]
    assert len(places) > 3000
    for place in places:
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"x\.safetensors (is|cannot|was)") as told:
            read_tensors(path)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut", "head", "folder", "missing", "pipe"])
def test_what_is_no_such_file_is_told(damage: str, path: Path) -> None:
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "pipe":
        os.mkfifo(path)
    elif damage != "missing":
        kinds = {"empty": b"", "garbage": os.urandom(5000), "cut": whole[:-1], "head": whole[:20]}
        path.write_bytes(kinds[damage])
    for read in (read_about, read_tensors):
        with pytest.raises(InputError, match=r"x\.safetensors"):
            read(path)


@pytest.mark.parametrize("text", [None, "2", "", "no json", "abc {}", "[1, 2]"])
def test_a_foreign_or_older_file_is_told(text: str | None, path: Path) -> None:
    save_file({"a": torch.zeros(3)}, path, {} if text is None else {"unstir": text})
    for read in (read_about, read_tensors):
        with pytest.raises(InputError, match=r"x\.safetensors is (a safetensors file, but not|damaged: what)"):
            read(path)


def test_a_newer_file_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "FORMAT", 9)
        write_tensors(path, _tensors(), TOLD)
    with pytest.raises(InputError, match=r"by a newer unstir \(format 9\): update unstir to read it"):
        read_about(path)
