"""What cannot fit is refused by the number that says so."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from unstir.cli import room
from unstir.data.config import DataConfig
from unstir.errors import InputError
from unstir.models.turns import Turns


def test_a_drawing_fits_the_disk_or_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    monkeypatch.setattr(room, "machine_memory", lambda: 1e9)
    room.check_drawing(15_625, (1, 8, 8), None, "x.npz", 64)
    for out in ("x.npz", "x/"):
        with pytest.raises(InputError, match=r"^15,626 images take 1 MB, and on the disk of /.* there are 1 MB"):
            room.check_drawing(15_626, (1, 8, 8), None, out, 64)
    room.check_drawing(20_000, (1, 8, 8), Turns("0123456789", 20_000), "x.png", 64)
    with pytest.raises(InputError, match=r"^One picture of 4,294,967,295 images would be 4,325,\d+ by 4,325,\d+ "):
        room.check_drawing(4_294_967_295, (1, 8, 8), None, "x.png", 64)
    with pytest.raises(InputError, match=r"One picture of 4 images would be 40,006 by 8 pixels"):
        room.check_drawing(4, (1, 1, 20_000), None, "x.webp", 64)
    with pytest.raises(
        InputError, match=r"A batch of 10,000 images of 3x100x100 takes 1.2 GB, and there are 1.0 GB"
    ):
        room.check_drawing(10_000, (3, 100, 100), None, "x.npz", 20_000)


def test_training_fits_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "machine_memory", lambda: 1e9)
    monkeypatch.setattr(room, "memory", lambda: 1e9)
    room.check_training(50_000_000, 1, (1, 8, 8))
    with pytest.raises(InputError, match=r"50,000,001 parameters, whose training takes 1.0 GB"):
        room.check_training(50_000_001, 1, (1, 8, 8))
    with pytest.raises(InputError, match=r"10,000 images of 3x100x100 .* set a smaller training\.batch"):
        room.check_training(1000, 10_000, (3, 100, 100))
    room.check_data(DataConfig(source="x", size=1000, channels=3), 83)
    room.check_data(DataConfig(source="x"), 10**9)
    with pytest.raises(InputError, match=r"84 images of 3x1000x1000 takes 1.0 GB"):
        room.check_data(DataConfig(source="x", size=1000, channels=3), 84)


def test_memory_is_the_machines_or_what_of_it_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = room.machine_memory()
    assert 1e8 < whole < 1e14
    monkeypatch.setattr(room.Path, "read_text", lambda _: "1000000\n")
    assert room.machine_memory() == 1_000_000
    monkeypatch.setattr(room.Path, "read_text", lambda _: "max\n")
    assert room.machine_memory() >= whole
