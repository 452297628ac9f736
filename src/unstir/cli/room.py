"""What a machine has room for: asked before anything is tried that needs more. No torch."""

from __future__ import annotations

import shutil
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from unstir.data.config import DataConfig
from unstir.errors import InputError, counted
from unstir.quantities import size

if TYPE_CHECKING:
    from unstir.models.table import Table
    from unstir.models.turns import Turns

MOST_PIXELS, LONGEST_SIDE = 89_000_000, 16_383
"""Of one picture: of larger ones many programs take fright, and WebP holds none of a longer side."""


def memory() -> float:
    """Return the bytes of memory that models can be in: a GPU's where there is one."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    return machine_memory()


def machine_memory() -> float:
    """Return the bytes of memory of the machine, or of what of it is ours."""
    import psutil

    whole = float(psutil.virtual_memory().total)
    try:
        return min(whole, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such limit
        return whole


def check_batch(batch: int, shape: tuple[int, ...], have: float, how: str) -> None:
    """Check that a batch of samples fits into memory at all, be the network as small as it may.

    Raises:
        InputError: If not.
    """
    needed = 4 * batch * prod(shape)
    if needed > have:
        images = f"{counted(batch, 'image')} of {'x'.join(map(str, shape))}"
        raise InputError(f"A batch of {images} takes {size(needed)}, and there are {size(have)} of memory: {how}")


def check_data(data: DataConfig, batch: int) -> None:
    """Check, before images are decoded, that a batch of them in the size that is asked for fits into memory.

    Raises:
        InputError: If not.
    """
    if data.size:
        how = "ask for a smaller data.size or training.batch"
        check_batch(batch, (data.channels or 1, *data.size), machine_memory(), how)


def check_training(parameters: int, batch: int, shape: tuple[int, ...]) -> None:
    """Check that a network can be trained in this machine's memory, as far as its weights and images go.

    Args:
        parameters: How many it has.
        batch: How many images a step is of.
        shape: (C, H, W) of each.

    Raises:
        InputError: If not.
    """
    from unstir.training.estimate import STATE_BYTES

    needed, have = parameters * STATE_BYTES, memory()
    if needed > have:
        raise InputError(
            f"The network has {parameters:,} parameters, whose training takes {size(needed)}, and there are "
            f"{size(have)} of memory: make it narrower"
        )
    check_batch(batch, shape, have, "set a smaller training.batch")


def check_drawing(n: int, shape: tuple[int, ...], rows: Table | Turns | None, out: str, batch: int) -> None:
    """Check that there is room for ``n`` drawn images, in one picture or on the disk.

    Args:
        n: How many.
        shape: (C, H, W).
        rows: How they lie in one picture that has writing along its edges; None for one without.
        out: Where to: a folder ends in a slash.
        batch: How many are drawn together.

    Raises:
        InputError: If not.
    """
    check_batch(min(n, batch), shape, machine_memory(), "give a smaller --batch")
    if out.endswith(("/", ".npz")):
        there = next(place for place in Path(out).absolute().parents if place.exists())
        needed, free = n * prod(shape), shutil.disk_usage(there).free
        if needed > free:
            raise InputError(
                f"{n:,} images take {size(needed)}, and on the disk of {there} there are {size(free)} free: ask "
                "for fewer with -n"
            )
        return
    from unstir.models.headings import Headings
    from unstir.models.layout import grid_size

    written = rows is not None and n * prod(shape[1:]) <= MOST_PIXELS  # else too large without the writing
    width, height = Headings(rows, *shape[1:]).size if written else grid_size(n, *shape[1:])
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise InputError(
            f"One picture of {n:,} images would be {width:,} by {height:,} pixels: name a folder (--out x/) or an "
            "array (--out x.npz), or ask for fewer with -n"
        )
