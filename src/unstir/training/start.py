"""Starting a run, or going on with one: what is checked before anything is loaded or trained. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from unstir.errors import InputError
from unstir.training.config import Config, ImagesInfo
from unstir.training.folder import RunFolder

if TYPE_CHECKING:
    from unstir.data.dataset import ImageData


def check_out(config: Config, out: Path) -> None:
    """Check that ``out`` is free, or holds this very run.

    The budget may differ: training goes on under the new one.

    Raises:
        InputError: If ``out`` holds another run or other files, or is no folder.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    folder = RunFolder(out)
    if not folder.config.exists():
        raise InputError(f"--out {out} holds other files and no run; name a new folder")
    before = folder.read_config()
    difference = first_difference(_lasting(before), _lasting(config))
    if difference:
        key, old, new = difference
        raise InputError(
            f"--out {out} holds another run: its {key} is {old}, not {new}; name another folder to keep both"
        )


def with_images(config: Config, data: ImageData) -> Config:
    """Return the configuration with what the training images turned out to be."""
    info = ImagesInfo(shape=data.shape, classes=data.classes, fingerprint=data.fingerprint)
    return config.model_copy(update={"images": info})


def check_images(config: Config, out: Path) -> None:
    """Check that a run in ``out`` was trained on the very images that ``config`` now holds.

    Raises:
        InputError: If they are others.
    """
    folder = RunFolder(out)
    before = folder.read_config().images if folder.config.exists() else None
    if before is not None and before != config.images:
        raise InputError(
            f"--out {out} holds a run on other images: those of '{config.data.source}' have changed since; "
            "name another folder"
        )


def first_difference(
    a: dict[str, object], b: dict[str, object], prefix: str = ""
) -> tuple[str, object, object] | None:
    """Return the first dotted key at which two nested dictionaries differ, and both values."""
    for key in [*a, *(key for key in b if key not in a)]:
        x, y = a.get(key), b.get(key)
        if isinstance(x, dict) and isinstance(y, dict):
            inner = first_difference(x, y, f"{prefix}{key}.")
            if inner:
                return inner
        elif x != y:
            return f"{prefix}{key}", x, y
    return None


def _lasting(config: Config) -> dict[str, object]:
    left_out = {"note": True, "images": True, "training": {"images", "seconds"}}
    return config.model_dump(mode="json", exclude=left_out)
