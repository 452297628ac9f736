"""Damaged files of every kind that is read are told in one sentence or mended: no traceback, hang or silence.

Files that unstir writes are read whole or told; of a user's own, some bytes may change without anybody's notice.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import torch
from PIL import Image

from unstir.cli.main import run
from unstir.config import checked
from unstir.data.config import DataConfig
from unstir.data.load import load as load_images
from unstir.data.peek import peek
from unstir.data.sources import find
from unstir.errors import InputError
from unstir.models.file import load, locate
from unstir.tensors import read_tensors
from unstir.training.checkpoint import newest_checkpoint, restore
from unstir.training.learner import Learner
from unstir.training.log import RunLog
from unstir.training.run_folder import RunFolder
from unstir.training.start import with_data

SECONDS = 20
"""More than that is a hang."""

Damage = Callable[[bytes, random.Random], bytes]


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _zeros(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    length = chance.randrange(1, 5000)
    return data[:start] + bytes(len(data[start : start + length])) + data[start + length :]


def _garbage(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + chance.randbytes(chance.randrange(1, 300)) + data[start:]


def _without(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randrange(1, 300) :]


def _other(data: bytes, chance: random.Random) -> bytes:
    return chance.choice(
        [
            b"",
            b"\0" * 4096,
            b"[]",
            b"{}",
            b"null",
            b"7",
            b'"x"',
            b"[" * 9999,
            b"\xff\xfe\0",
            b"version https://git-lfs",
        ]
    )


def _value(data: bytes, chance: random.Random) -> bytes:
    """Put something else in the place of a word or a number, as a hand does."""
    words = [i for i in range(len(data)) if data[i : i + 1].isalnum()]
    start = end = chance.choice(words or [0])
    while end < len(data) and data[end : end + 1].isalnum():
        end += 1
    values = [
        b"-1",
        b"99999999999999999999",
        b"1e999",
        b"NaN",
        b"",
        b"null",
        b"[[]]",
        b"\xc2\xb2",
        b"'",
        b"{}",
        b"x" * 9999,
    ]
    return data[:start] + chance.choice(values) + data[end:]


DAMAGES: list[Damage] = [_flip, _flip, _cut, _zeros, _garbage, _without, _other, _value]


@contextmanager
def _in_time() -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"it took more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, own_cache: Path) -> Iterator[Path]:
    """A run, a plan, and data of all kinds."""
    folder = tmp_path_factory.mktemp("damage")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("UNSTIR_CACHE", str(own_cache))
        small = ["--set", "network.channels=[8,8]", "--set", "network.attention=[none,none]"]
        assert run(["train", "digits", "--smoke", *small, "--set", "precision=float32", "--out", "run"]) == 0
        assert run(["train", "digits-variations", "--smoke", "--out", "plan"]) == 0
        _data(folder)
        yield folder


def _data(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 3, 12, 10), dtype=np.uint8)
    for kind, suffix in (("photos", "png"), ("compressed", "jpg"), ("gray", "tiff")):
        (folder / kind / "a").mkdir(parents=True)
        (folder / kind / "b").mkdir()
        for i, image in enumerate(pixels):
            picture = Image.fromarray(image.transpose(1, 2, 0))
            picture.save(folder / kind / "ab"[i % 2] / f"{i}.{suffix}")
    (folder / "photos" / "metadata.jsonl").write_text(
        "".join(
            json.dumps({"file_name": f"{'ab'[i % 2]}/{i}.png", "text": f"photo {i}", "n": i}) + "\n"
            for i in range(6)
        )
    )
    rows = "".join(f'{"ab"[i % 2]}/{i}.jpg,"photo, {i}",{i}\n' for i in range(6))
    (folder / "compressed" / "metadata.csv").write_text(f"file_name,text,n\n{rows}")
    np.save(folder / "x.npy", pixels)
    np.savez(folder / "x.npz", images=pixels, labels=np.arange(6) % 2, text=np.array(["a", "b"] * 3))
    np.savez_compressed(folder / "y.npz", images=pixels)
    _table(folder / "tables", folder / "photos")


def _table(folder: Path, photos: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    folder.mkdir()
    images = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(photos.rglob("*.png"))]
    parquet.write_table(pa.table({"image": images, "label": [0, 1] * 3}), folder / "train-00000.parquet")


def _outcomes(path: Path, times: int, read: Callable[[], None], damages: list[Damage] = DAMAGES) -> dict[str, int]:
    """Damage a file so many times and read it each time; return how often it was told and read."""
    whole, chance = path.read_bytes(), random.Random(path.name)
    counts = {"told": 0, "read": 0}
    try:
        for i in range(times):
            damage = damages[i % len(damages)]
            path.write_bytes(damage(whole, chance))
            try:
                with _in_time():
                    read()
                counts["read"] += 1
            except InputError as error:
                assert "\n" not in str(error) and 10 < len(str(error)) < 1500, (damage.__name__, str(error))
                counts["told"] += 1
            except Exception as error:
                raise AssertionError(f"{damage.__name__} {i}: {path.read_bytes()[:2000]!r}") from error
    finally:
        path.write_bytes(whole)
    print(f"{path}: {times} damaged, {counts['told']} told, {counts['read']} read")
    return counts


# What unstir wrote: as it was, or told


def _same(name: str, wanted: dict[str, torch.Tensor]) -> None:
    found = load(name).state_dict()
    assert found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("damages", [[_flip], pytest.param(DAMAGES, marks=pytest.mark.slow)], ids=["flips", "all"])
def test_a_damaged_model_is_told(damages: list[Damage], place: Path) -> None:
    path = locate(Path("run"))
    wanted = load(path).state_dict()
    counts = _outcomes(path, 100, lambda: _same("run", wanted), damages)
    assert counts["told"] >= (100 if damages == [_flip] else 95), counts


@pytest.mark.parametrize("damages", [[_flip], pytest.param(DAMAGES, marks=pytest.mark.slow)], ids=["flips", "all"])
def test_a_damaged_checkpoint_is_told(damages: list[Damage], place: Path) -> None:
    folder = RunFolder(Path("run"))
    config = folder.read_config()
    splits = load_images(config.data)
    learner = Learner(with_data(config, splits.train, folder.path), splits)
    wanted = read_tensors(folder.checkpoints()[-1])[1]

    def read() -> None:
        found = newest_checkpoint(folder)
        assert found is not None
        learner.position = found[1]
        restore(found[0], learner.state())
        state = {
            f"{name}.{key}": value
            for name, one in learner.state().items()
            for key, value in one.state_dict().items()
        }
        assert all(torch.equal(value, wanted[key]) for key, value in state.items())

    counts = _outcomes(folder.checkpoints()[-1], 100, read, damages)
    assert counts["told"] >= (100 if damages == [_flip] else 95), counts


@pytest.mark.slow
def test_a_damaged_configuration_is_told_or_still_one(place: Path) -> None:
    folder = RunFolder(Path("run"))
    counts = _outcomes(folder.config, 120, lambda: (folder.read_config(), None)[1])
    assert counts["told"] > 50 and counts["read"] >= 3, counts


@pytest.mark.slow
def test_a_damaged_plan_is_told(place: Path) -> None:
    counts = _outcomes(Path("plan/plan.yaml"), 80, lambda: (load("plan"), None)[1])
    assert counts["told"] > 20, counts


@pytest.mark.slow
def test_a_damaged_log_is_mended(place: Path) -> None:
    shutil.copytree("run", "logged")
    path = Path("logged/metrics.jsonl")

    def read() -> None:
        with RunLog(RunFolder(path.parent), 10**6, "x") as log:
            log.write(10**6, {"loss": 0.0})
        assert json.loads(path.read_text().splitlines()[-1])["step"] == 10**6

    counts = _outcomes(path, 60, read)
    assert counts == {"told": 0, "read": 60}


@pytest.mark.slow
def test_a_damaged_cache_is_made_anew(place: Path) -> None:
    """But for a flipped bit among the pixels, whose hash would take too long at each start."""
    shutil.copytree("photos", "cached")
    config = checked(DataConfig, {"source": "cached"})
    wanted = load_images(config).train
    (entry,) = Path(os.environ["UNSTIR_CACHE"]).glob("images/cached-*")
    for name in ("entry.json", "pixels", "column-0"):
        path = entry / name

        def read() -> None:
            again = load_images(config).train
            assert again.shape == wanted.shape and len(again) == len(wanted)

        counts = _outcomes(path, 40, read)
        assert counts == {"told": 0, "read": 40}, name
        shutil.rmtree(entry)
        load_images(config)


# What users have: told, or left out, or read


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("photos", "photos/a/0.png"),
        ("photos", "photos/metadata.jsonl"),
        ("compressed", "compressed/b/1.jpg"),
        ("compressed", "compressed/metadata.csv"),
        ("gray", "gray/a/2.tiff"),
        ("tables", "tables/train-00000.parquet"),
        ("x.npy", "x.npy"),
        ("x.npz", "x.npz"),
        ("y.npz", "y.npz"),
    ],
)
def test_damaged_data_is_told_left_out_or_read(source: str, file: str, place: Path) -> None:
    def read() -> None:
        found = find(source)
        if found.kind != "array":
            peek(found)
        load_images(checked(DataConfig, {"source": source, "size": 8}))

    with np.errstate(all="ignore"):
        counts = _outcomes(Path(file), 60, read)
    assert sum(counts.values()) == 60


@pytest.mark.slow
def test_a_damaged_picture_to_edit_is_told(place: Path) -> None:
    from unstir.data.decode import decode_file

    counts = _outcomes(Path("photos/a/0.png"), 60, lambda: (decode_file(Path("photos/a/0.png")), None)[1])
    assert counts["told"] > 30, counts
