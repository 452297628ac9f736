"""What the numbers were measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

PACKAGES = ("unstir", "torch", "diffusers", "denoising-diffusion-pytorch")


def describe() -> dict[str, Any]:
    """Return the processor, its bfloat16 arithmetic, the GPU, memory, versions, load and date."""
    import torch

    flags = _cpuinfo("flags").split()
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "bfloat16": [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_at_start": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": {name: version for name, version in versions.items() if version},
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def slug(machine: dict[str, Any]) -> str:
    """Return a file name for a machine and a day."""
    bfloat16 = machine["bfloat16"][:1]
    parts = [machine["gpu"] or machine["processor"], f"{machine['cores']}-cores", *bfloat16, machine["date"][:10]]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")


class Elsewhere:
    """How busy others keep the processor while we measure; Linux only.

    On a busy processor steps slow down by far more than the share that is taken from them, as the threads of one
    product wait for each other.
    """

    def __init__(self) -> None:
        self.began, self.busy, self.own = time.monotonic(), _busy_seconds(), _own_seconds()

    def cores(self) -> float | None:
        """Return how many cores others used, on average, since this was made; our processes must have ended."""
        busy = _busy_seconds()
        if busy is None or self.busy is None:
            return None
        others = (busy - self.busy) - (_own_seconds() - self.own)
        return round(max(0.0, others) / (time.monotonic() - self.began), 2)


def _busy_seconds() -> float | None:
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _, _, interrupts, soft, stolen = map(int, stat.read_text().splitlines()[0].split()[1:9])
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    return sum(os.times()[:4])


def _cpuinfo(key: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
