"""The contenders by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from benchmarks.contender import Contender, Mode, Unstir
from benchmarks.peers import DdpmPytorch, Diffusers
from benchmarks.workloads import Workload

BEST = Mode(precision="auto", channels_last=True, tuned=True)

CONTENDERS: dict[str, tuple[Callable[[Workload, Mode], Contender], Mode]] = {
    "unstir": (Unstir, Mode(precision="auto")),
    "unstir-float32": (Unstir, Mode()),
    "diffusers": (Diffusers, Mode()),
    "diffusers-best": (Diffusers, BEST),
    "ddpm-pytorch": (DdpmPytorch, Mode()),
    "ddpm-pytorch-best": (DdpmPytorch, BEST),
    # Only when asked for by name: another layout, and compilation.
    "diffusers-contiguous": (Diffusers, Mode(precision="auto", tuned=True)),
    "ddpm-pytorch-contiguous": (DdpmPytorch, Mode(precision="auto", tuned=True)),
    "diffusers-compiled": (Diffusers, Mode(precision="auto", channels_last=True, tuned=True, compiled=True)),
    "ddpm-pytorch-compiled": (DdpmPytorch, Mode(precision="auto", channels_last=True, tuned=True, compiled=True)),
}

USUAL = tuple(CONTENDERS)[:6]


def missing(name: str) -> str | None:
    """Return why a contender cannot take part here, or None if it can."""
    module = {"diffusers": "diffusers", "ddpm": "denoising_diffusion_pytorch"}.get(name.split("-")[0])
    if module is None or find_spec(module):
        return None
    return f"{name} is left out: {module} is not installed (pip install -e '.[benchmark]')"
