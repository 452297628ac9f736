"""Where results go: nothing is overwritten, and a place that cannot be written is noticed beforehand. No torch."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from unstir.data.folder import IMAGE_SUFFIXES
from unstir.errors import InputError


def check_writable(path: Path) -> None:
    """Check that a file or folder can be made, or written if it is there.

    Raises:
        InputError: If a folder above it is a file, or does not let us write.
        OSError: If a name is too long.
    """
    whole = path.absolute()
    there = next(place for place in (whole, *whole.parents) if place.exists())
    # Each name as it becomes where names are taken, and the whole with what lies within.
    for probe in (*(there / f"{name}-1000" for name in whole.relative_to(there).parts), whole / ("x" * 100)):
        try:
            probe.lstat()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise OSError(error.errno, error.strerror, str(path)) from None
    if not there.is_dir():
        raise InputError(f"{path} cannot be written: {there} is a file, not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written: no permission to write in {there}; name another place")


def default_place(run: Path, name: str) -> Path:
    """Return where a model's result goes unless the user says otherwise: in its run folder, or here.

    Args:
        run: The model.
        name: The place in a run folder, such as ``figures/levels.png``; if it is taken, another will be.

    Raises:
        InputError: If it cannot be written.
    """
    place = run / name if run.is_dir() else Path(Path(name).name)
    check_writable(place.parent / "x" if place.exists() else place)
    return place


def picture_place(out: Path | None, run: Path, default: str, endings: Sequence[str]) -> Path:
    """Return where one picture is to go.

    Args:
        out: The file that the user names, which must not be there, or None.
        run: The model.
        default: As for :func:`default_place`, if the user names none.
        endings: Those that ``out`` may have, in lower case.

    Raises:
        InputError: If something is there already, the ending is another, or it cannot be written.
    """
    if out is None:
        return default_place(run, default)
    if out.exists():
        raise InputError(f"--out {out} is there already; name another file, or remove it first")
    if out.suffix.lower() not in endings:
        raise InputError(f"--out {out} must end in {', '.join(endings[:-1])} or {endings[-1]}")
    check_writable(out)
    return out


def check_pictures(out: str) -> str:
    """Check where pictures are to go, and return it: with a slash at the end if it is a folder.

    Args:
        out: ``x.png`` or another picture, ``x.npz``, or a folder that is empty or not there.

    Raises:
        InputError: If something is there already, the ending is unknown, or it cannot be written.
    """
    path = Path(out)
    if out.endswith("/") or not path.suffix or path.is_dir():
        if path.exists() and not path.is_dir():
            raise InputError(f"--out {out} is a file; name a picture (x.png), an array (x.npz) or a folder")
        if path.is_dir() and any(path.iterdir()):
            raise InputError(f"--out {out} holds files already; name a new folder")
        out = f"{out.rstrip('/')}/" if out.strip("/") else out
    elif path.exists():
        raise InputError(f"--out {out} is there already; name another file, or remove it first")
    elif path.suffix != ".npz" and path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"--out {out} ends in neither .png nor .npz; for a folder write {out}/")
    check_writable(path)
    return out
