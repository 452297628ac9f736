"""Files: read or refused in one sentence, written whole or not at all; and folders that one process holds."""

from __future__ import annotations

import errno
import logging
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from unstir.errors import InputError, told_shortly

_log = logging.getLogger(__name__)

_PARTIAL = ".partial-"
_LOCK = ".lock"
HIDDEN = (_PARTIAL, _LOCK)
"""How the names begin of what lies for a moment beside what is written."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path; on success it becomes ``path`` at once and for good, on failure it goes.

    Raises:
        InputError: If the disk is full or the folder cannot be written.
    """
    with _partial(path) as partial:
        yield partial
        _settle(partial)
        partial.replace(path)


def write_new(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file whole or not at all under a name that nothing has, and return where.

    Args:
        path: Its name; if that is taken, be it by another command at this very moment, the first of ``name-2``,
            ``name-3``, ... that is free.
        write: Writes it to a temporary path.

    Raises:
        InputError: If the disk is full or the folder cannot be written.
    """
    with _partial(path) as partial:
        write(partial)
        _settle(partial)
        for free in _names(path):
            with suppress(FileExistsError):
                _name(partial, free)
                return free
    raise AssertionError("names have no end")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder: ``path``, or if that is not empty or being filled, ``name-2``, ``name-3``, ...

    Raises:
        InputError: If none can be made.
    """
    for free in _names(path):
        mark = free / ".being-filled"
        try:
            free.mkdir(parents=True, exist_ok=True)
            mark.mkdir()
            if [*free.iterdir()] == [mark]:
                break
            mark.rmdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(f"{path} could not be written: {error.strerror or error}") from None
    try:
        yield free
    finally:
        with suppress(OSError):
            mark.rmdir()


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """Give a path that safetensors can open: the file's own, or where that is no UTF-8 one by its descriptor."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield Path(f"/dev/fd/{file.fileno()}")
    else:
        yield path


def _names(path: Path) -> Iterator[Path]:
    yield path
    for number in count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """Give a path in a folder of its own beside ``path``: what writes it may do so by temporary files too."""
    from safetensors import SafetensorError

    try:
        with scratch(path.parent) as folder:
            yield folder / path.name
            _note_name(path.parent)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} could not be written: {getattr(error, 'strerror', None) or error}") from None


def _settle(partial: Path) -> None:
    """Have what was written on the disk, with the rights of any file."""
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.chmod(0o666 & ~_umask())  # safetensors makes files that only their owner may read


def _name(partial: Path, free: Path) -> None:
    """Give a file a name.

    Raises:
        FileExistsError: If something has it.
    """
    try:
        free.hardlink_to(partial)
    except FileExistsError:
        raise
    except OSError:  # the disk knows no links
        os.close(os.open(free, os.O_CREAT | os.O_EXCL))
        partial.replace(free)


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """Give a new hidden folder in ``parent`` that goes at the end, or when another is made there after a kill."""
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{_place()}-{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def held(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder, which is made if need be, so that no other process holds it meanwhile.

    The operating system lets go of it when the process ends, however it ends; on a disk that knows no locks, which
    is said, nothing is held. What killed processes have left beneath it half written is removed. If the folder was
    made and nothing was put into it, it goes again.

    Raises:
        InputError: If another process holds it, or it cannot be written; ``what`` says what that one does.
    """
    from filelock import FileLock, Timeout

    lock, made = FileLock(folder / _LOCK), not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _without_locks(folder):
            lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{folder} is in use: another process {what}; wait for it, or name another folder"
        ) from None
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}") from None
    for left in [*folder.rglob(f"{_PARTIAL}*")]:
        sweep(left.parent)
    try:
        yield
    finally:
        lock.release()
        if not visible(folder):
            with suppress(OSError):
                (folder / _LOCK).unlink()
                if made:
                    folder.rmdir()


def is_held(folder: Path) -> bool:
    """Whether another process holds a folder."""
    from filelock import FileLock, Timeout

    if not (folder / _LOCK).exists():
        return False
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # as on a disk that knows no locks
        return False
    lock.release()
    return False


@contextmanager
def _without_locks(folder: Path) -> Iterator[None]:
    """Go on where a disk knows no locks, as some network drives do not."""
    try:
        yield
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        _log.warning("the disk of %s knows no locks: see to it that nothing else writes there", folder)


def visible(folder: Path) -> list[Path]:
    """Return what is in a folder but hidden files, as those that are half written are; [] if it is not there."""
    return [place for place in folder.iterdir() if not place.name.startswith(".")] if folder.is_dir() else []


def check_file(path: Path) -> None:
    """Check that what is read is a file, if it is there at all: of a pipe, say, there might never be an end.

    Raises:
        InputError: If it is something else.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} cannot be read: it is no file")


def read_text(path: Path) -> str:
    """Return the text in a file.

    Raises:
        InputError: If it is not there, is no file or no text.
    """
    check_file(path)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        InputError: If it cannot be read, or holds something else.
    """
    text = read_text(path)
    try:
        values = from_yaml(text)
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if not isinstance(values, dict) or not values or not all(isinstance(key, str) for key in values):
        raise InputError(f"{path} cannot be read: it holds no values by name")
    return values


def from_yaml(text: str) -> object:
    """Return the value that a text in YAML says.

    Raises:
        ValueError: If it says none, refers to itself, or nests without end; on one line.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):  # by which a short text says a value of any size
                raise yaml.YAMLError("it has an alias (*)")
            return super().compose_node(parent, index)

    try:
        return yaml.load(text, Loader)
    except (
        yaml.YAMLError,
        ValueError,
        OverflowError,
        RecursionError,
        LookupError,
        AttributeError,
        TypeError,
    ) as error:
        raise ValueError(told_shortly(error)) from None


def _note_name(folder: Path) -> None:
    """Have the disk keep the names in a folder, should the power fail, where the system can be asked to."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@cache
def _place() -> str:
    """Return where the numbers of processes count: this machine, and of it this container."""
    space = Path("/proc/self/ns/pid")
    return f"{platform.node()}-{space.stat().st_ino}" if space.exists() else platform.node()


@cache
def sweep(parent: Path) -> None:
    """Remove the scratch folders that processes of this machine left which are no more; once in a process."""
    import psutil

    for left in parent.glob(f"{_PARTIAL}*"):
        made = re.fullmatch(rf"{_PARTIAL}(.*)-(\d+)-\w+", left.name)
        if made and made[1] == _place() and not psutil.pid_exists(int(made[2])):
            shutil.rmtree(left, ignore_errors=True)


def _umask() -> int:
    """Return the process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
