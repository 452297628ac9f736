"""The C++ of this folder as a library, compiled for the processor at hand.

The first use takes some seconds; the library is then kept under ``kernels`` in the cache folder, named by all that
it depends on and by what it holds. It runs on PyTorch's own threads: both ask for the OpenMP library that PyTorch
has loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import torch  # before the kernels: its OpenMP library must be the first to be loaded

from unstir.cache import cache_folder
from unstir.files import scratch, whole_file

SOURCES = sorted(Path(__file__).parent.glob("*.cpp"))
HEADERS = sorted(Path(__file__).parent.glob("*.h"))
FLAGS = [
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"),
    *("-ffast-math", "-fno-finite-math-only"),  # a NaN must show
    "-nostartfiles",  # which would turn off denormal numbers for the whole program
]

_KIND = (b"model name", b"flags", b"CPU part", b"Features")

TYPES = {torch.float32: "float", torch.bfloat16: "bfloat16"}
"""The kernels' types, and how the names of the functions end for each."""


@cache
def library() -> ctypes.CDLL | None:
    """Return the kernels, or None where they cannot be had: not Linux, no C++ compiler, no folder to write to."""
    try:
        compiler = shlex.split(os.environ.get("CXX", ""))  # it may have arguments, as in "ccache g++"
        found = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
        compiler = compiler or ([found] if found else [])
        if sys.platform != "linux" or not compiler:
            return None
        flags = FLAGS + (["-mprefer-vector-width=512"] if platform.machine() == "x86_64" else [])
        folder, key = cache_folder() / "kernels", _key(compiler, flags)
        path = next((path for path in folder.glob(f"{key}-*.so") if _is_whole(path)), None)
        return ctypes.CDLL(str(path or _compile(compiler, flags, folder, key)))
    except (OSError, ValueError, subprocess.SubprocessError):  # no compiler that works, no folder, no home
        return None


def processor() -> bytes:
    """Return what Linux says of the processor's kind, or nothing elsewhere."""
    info = Path("/proc/cpuinfo")
    lines = info.read_bytes().split(b"\n\n")[0].splitlines() if info.exists() else []
    return b"\0".join(sorted(line for line in lines if line.startswith(_KIND)))


def _key(compiler: list[str], flags: list[str]) -> str:
    """Return a name for the sources, the compiler, its flags and the processor."""
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=True).stdout
    sources = (source.read_bytes() for source in SOURCES + HEADERS)
    parts = [*sources, version, " ".join(flags).encode(), processor()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]


def _compile(compiler: list[str], flags: list[str], folder: Path, key: str) -> Path:
    """Compile, and keep it under a name that tells whether it is whole: part of one would end the program."""
    with scratch(folder) as own:
        part = own / "kernels.so"
        subprocess.run([*compiler, *flags, *map(str, SOURCES), "-o", str(part)], capture_output=True, check=True)
        path = folder / f"{key}-{_hash(part)}.so"
        with whole_file(path) as partial:
            shutil.copyfile(part, partial)
    return path


def _is_whole(path: Path) -> bool:
    return path.stem.endswith(f"-{_hash(path)}")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:24]
