"""A file of tensors with what is to be known of them: written whole, and checked when it is read.

It is a safetensors file with one entry in its metadata: a JSON object of ``format``, ``tensors`` (their hash) and
``about`` (what is told of them), behind a hash of its own. So one flipped bit anywhere is noticed, what is told is
checked without reading the tensors, and what is equal is written in equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.errors import InputError, told_shortly
from unstir.files import check_file, readable, whole_file

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 3
_KEY = "unstir"


@dataclass(frozen=True)
class About:
    """What a file of tensors says without its tensors.

    Attributes:
        told: What was to be known of them, as it was written.
        hash: Of the tensors, see :func:`tensors_hash`.
        names: Of the tensors.
    """

    told: dict[str, Any]
    hash: str
    names: frozenset[str]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and what is to be known of them, which JSON can say.

    Raises:
        InputError: If the disk is full or the folder cannot be written; what was there before stays.
    """
    from safetensors.torch import save_file

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({"format": FORMAT, "tensors": tensors_hash(whole), "about": about})
    with whole_file(path) as partial:
        save_file(whole, partial, {_KEY: f"{_text_hash(text)} {text}"})


def read_about(path: Path) -> About:
    """Return what a file says without its tensors, checked; without torch.

    Raises:
        InputError: If the file cannot be read, is not of this kind or format, is cut short or was changed.
    """
    with _opened(path, "numpy") as file:
        return _about(path, file)


def read_tensors(path: Path) -> tuple[About, dict[str, Tensor]]:
    """Return what a file says and its tensors, on the CPU, all checked.

    Raises:
        InputError: As for :func:`read_about`, and if the tensors are not those that were written.
    """
    with _opened(path, "pt") as file:
        about = _about(path, file)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if tensors_hash(tensors) != about.hash:
        raise InputError(f"{path} is damaged: its tensors are not those that were written")
    return about, tensors


@contextmanager
def _opened(path: Path, framework: str) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    check_file(path)
    try:
        with readable(path) as name, safe_open(name, framework=framework) as file:
            yield file
    except (SafetensorError, OSError, AttributeError) as error:  # the last of a type that torch has not
        raise InputError(f"{path} is damaged or no safetensors file: {told_shortly(error)}") from None


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of tensors with their names, shapes and types, 32 hexadecimal digits."""
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _about(path: Path, file: Any) -> About:
    """Return what an open file says without its tensors, checked."""
    hash, space, text = (file.metadata() or {}).get(_KEY, "").partition(" ")
    if not space:
        raise InputError(
            f"{path} is a safetensors file, but not of this unstir: what an older one wrote must be trained again"
        )
    if hash != _text_hash(text):
        raise InputError(f"{path} is damaged: what it says of itself is not what was written")
    written = json.loads(text)
    if written["format"] > FORMAT:
        number = written["format"]
        raise InputError(f"{path} was written by a newer unstir (format {number}): update unstir to read it")
    return About(written["about"], written["tensors"], frozenset(file.keys()))


def _text_hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
