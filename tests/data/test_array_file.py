"""Damaged array files are one sentence, before numpy makes room for what they say they hold."""

from __future__ import annotations

import io
import resource
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from unstir.data import arrays
from unstir.data.sources import find
from unstir.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 3, 5, 6), dtype=np.uint8)
LABELS = np.arange(12) % 3


def written(save: Callable[..., None], **given: np.ndarray) -> bytes:
    stream = io.BytesIO()
    save(stream, **given) if given else save(stream, IMAGES)
    return stream.getvalue()


FILES = {
    "stored.npz": written(np.savez, images=IMAGES, labels=LABELS, words=np.array(["a", "bc"] * 6)),
    "packed.npz": written(np.savez_compressed, images=IMAGES, labels=LABELS),
    "plain.npy": written(np.save),
}


def read(place: Path) -> np.ndarray:
    """The images, wherever they lie, with all that comes with them."""
    listing = arrays.contents(Path(find(str(place)).place)).train
    return np.stack(listing.read(listing.indices))  # type: ignore[arg-type]


def damaged(name: str, kind: str) -> Iterator[bytes]:
    whole, random = FILES[name], np.random.default_rng(1)
    if kind == "cut":
        yield from (whole[: int(len(whole) * part)] for part in np.linspace(0, 0.999, 25))
    elif kind == "flipped":
        head = range(128) if name == "plain.npy" else range(0)
        for at in [*head, *random.integers(0, len(whole), 150)]:
            yield whole[:at] + bytes([whole[at] ^ 1 << int(random.integers(8))]) + whole[at + 1 :]
    else:
        for at in random.integers(0, len(whole) - 40, 25):
            yield whole[:at] + bytes(40) + whole[at + 40 :]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["cut", "flipped", "zeros"])
@pytest.mark.filterwarnings("ignore")  # numpy's, on headers of old versions
def test_damage_is_told(name: str, kind: str, tmp_path: Path) -> None:
    told, tried, place = 0, 0, tmp_path / name
    for content in damaged(name, kind):
        tried += 1
        place.write_bytes(content)
        try:
            images = read(place)
        except InputError as error:
            told += 1
            assert name in str(error) and "\n" not in str(error) and len(str(error)) < 700
        else:
            # What zip sums up is right where it is read; an .npy file has no sum.
            assert images.dtype == np.uint8
            assert name == "plain.npy" or images.tobytes() == IMAGES.tobytes()
    assert told > tried * (0.2 if (name, kind) != ("plain.npy", "zeros") else 0)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Leave 500 MB of address space."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + 500 * 2**20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    "shape", ["(10**6, 3, 999, 999)", "(-12, 3, 5, 6)", "(12, -3, -5, 6)", "(2**62, 4, 2**62, 4)", "(12, 3, 5, 7)"]
)
@pytest.mark.parametrize("name", FILES)
def test_heads_that_promise_too_much(name: str, shape: str, tmp_path: Path, little_memory: None) -> None:
    shape = shape.replace("10**6", "1000000").replace("2**62", str(2**62))
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    array = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + IMAGES.tobytes()
    place = tmp_path / name
    if name == "plain.npy":
        place.write_bytes(array)
    else:
        how = zipfile.ZIP_STORED if name == "stored.npz" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(place, "w", how) as archive:
            archive.writestr("images.npy", array)
    began = time.perf_counter()
    with pytest.raises(InputError, match=f"{name}.*it says that it holds"):
        find(str(place))
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    "head",
    ["(" * 5000, "{'descr': '|O'}", "{}", "1", "\x00" * 50, "{'descr': '|u1', 'shape': (1e9,)}", "'" + "é" * 9],
)
def test_heads_of_another_form(head: str, tmp_path: Path) -> None:
    content = head.encode("latin-1")
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little") + content)
    with pytest.raises(InputError, match=r"x\.npy"):
        find(str(tmp_path / "x.npy"))


def test_an_encrypted_file(tmp_path: Path) -> None:
    # The flag that says so is set in both places where zip keeps it.
    content = bytearray(FILES["stored.npz"])
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(signature)
        while place >= 0:
            content[place + at] |= 1
            place = content.find(signature, place + 1)
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npz.*encrypted"):
        find(str(tmp_path / "x.npz"))


def test_other_members_of_the_archive_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(FILES["stored.npz"])
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("README.txt", "no array")
    np.testing.assert_array_equal(read(tmp_path / "x.npz"), IMAGES)
