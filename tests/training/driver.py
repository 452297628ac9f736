"""Trains as the command does, on the bundled digits; run by tests in processes of its own."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

BASE: dict[str, Any] = {
    "recipe": "test",
    "data": {"source": "digits", "flip": True},
    "training": {"images": 24 * 16, "batch": 16, "log_every": 4, "warmup": 5},
    "model": {
        "kind": "denoiser",
        "precision": "float32",
        "told": {"label": {"kind": "classes", "dropout": 0.1}},
        "network": {
            "kind": "unet",
            "channels": [8, 16],
            "blocks": 1,
            "attention": ["none", "full"],
            "dropout": 0.2,
        },
        "sampling": {"steps": 3},
    },
}
"""24 steps of a tiny network with everything random that training has: order, flips, labels, dropout, noise."""


def start(out: Path, settings: tuple[str, ...] = (), began: float | None = None) -> Path | None:
    """Train ``BASE`` under ``settings`` in ``out``."""
    import rivals as _known  # noqa: F401

    from unstir.config import checked
    from unstir.data.load import load
    from unstir.training.config import Config
    from unstir.training.settings import apply_settings
    from unstir.training.start import check_out, check_same, with_data

    began = time.monotonic() if began is None else began
    config = apply_settings(checked(Config, BASE), settings)
    check_out(config, out)
    splits = load(config.data)
    check_same(with_data(config, splits.train, out), out)
    from unstir.training.loop import train

    return train(config, out, splits, began)


def child(
    out: Path,
    settings: tuple[str, ...] = (),
    dies_in_write: int | None = None,
    file_limit: int | None = None,
    checkpoint_seconds: float = 0.0,
) -> None:
    """Train as a process: exit code 2 for an ``InputError`` (told on ``out``/../error.txt), 3 if interrupted.

    Args:
        out: The run folder.
        settings: ``key=value`` texts.
        dies_in_write: Kill this process when so many files have been written, this one by half.
        file_limit: No file may grow beyond so many bytes.
        checkpoint_seconds: Between two checkpoints.
    """
    import torch

    from unstir.errors import InputError
    from unstir.training import learner, loop

    torch.set_num_threads(1)
    loop.CHECKPOINT_SECONDS = checkpoint_seconds
    learner.VALIDATION_IMAGES = 20  # a second batch is a part of one
    if dies_in_write is not None:
        _die(dies_in_write)
    if file_limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    try:
        start(out, settings)
    except InputError as error:
        out.with_name("error.txt").write_text(str(error))
        sys.exit(2)
    except loop.Interrupted:
        sys.exit(3)


def _die(after: int) -> None:
    import safetensors.torch

    write, written = safetensors.torch.save_file, 0

    def dying(tensors: Any, path: Path, metadata: Any = None) -> None:
        nonlocal written
        write(tensors, path, metadata)
        written += 1
        if written == after:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    safetensors.torch.save_file = dying


def metrics(out: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a safetensors file by name."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


if __name__ == "__main__":
    began = time.monotonic()
    from unstir.training import learner, loop

    learner.VALIDATION_IMAGES = 20  # as in a child
    # The clocks of processes beside the main one never say that it is time.
    loop.CHECKPOINT_SECONDS = float(sys.argv[2]) if os.environ.get("RANK", "0") == "0" else 1e9
    start(Path(sys.argv[1]), tuple(sys.argv[3:]), began)
    from unstir.processes import leave, processes

    state = processes()
    Path(f"{sys.argv[1]}-rank-{state.process_index}-of-{state.num_processes}").touch()
    leave(0)
