"""The contenders by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from benchmarks.contender import Contender, Mode, Unstir
from benchmarks.peers import DdpmPytorch, Diffusers
from benchmarks.workloads import Workload

PRECISIONS = ("bf16", "float32")
BEST = tuple(Mode(kind, last, tuned=True) for kind in PRECISIONS for last in (True, False))
COMPILED = tuple(Mode(kind, channels_last=True, tuned=True, compiled=True) for kind in PRECISIONS)

CONTENDERS: dict[str, tuple[Callable[[Workload, Mode], Contender], tuple[Mode, ...]]] = {
    "unstir": (Unstir, (Mode(precision="auto"),)),
    "unstir-float32": (Unstir, (Mode(),)),
    "diffusers": (Diffusers, (Mode(),)),
    "diffusers-best": (Diffusers, BEST),
    "ddpm-pytorch": (DdpmPytorch, (Mode(),)),
    "ddpm-pytorch-best": (DdpmPytorch, BEST),
    # Only when asked for by name: compilation takes minutes on a CPU.
    "diffusers-compiled": (Diffusers, COMPILED),
    "ddpm-pytorch-compiled": (DdpmPytorch, COMPILED),
}
"""Each contender's package, and the modes that it may choose from: it takes the fastest, for each task."""

USUAL = tuple(CONTENDERS)[:6]


def missing(name: str) -> str | None:
    """Return why a contender cannot take part here, or None if it can."""
    module = {"diffusers": "diffusers", "ddpm": "denoising_diffusion_pytorch"}.get(name.split("-")[0])
    if module is None or find_spec(module):
        return None
    return f"{name} is left out: {module} is not installed (pip install -e '.[benchmark]')"
