"""What a run was begun with it keeps, however busy the machine is when it goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unstir import processes
from unstir.cli.train import configure
from unstir.kernels import processor
from unstir.recipes.request import Request
from unstir.tensors import write_tensors
from unstir.training.config import Begun, Config
from unstir.training.run_folder import RunFolder
from unstir.training.start import check_out

FAST, SLOW = 700.0, 60.0


@pytest.fixture
def photos(tmp_path: Path) -> str:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(np.full((72, 80, 3), 50 * i, np.uint8)).save(folder / f"{i}.png")
    return str(folder)


def _configured(name: str, data: str | None, out: Path, speed: float, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(processor, "top_speed", lambda: (speed, True))
    planned = configure(name, Request(data, seconds=3600 if name == "images" else 240), out)
    assert isinstance(planned, Config)
    return planned


@pytest.mark.parametrize("name", ["images", "mnist"])
def test_a_recipe_chooses_again_as_it_chose(
    name: str, photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = photos if name == "images" else None, tmp_path / "run"
    fast = _configured(name, data, out, FAST, monkeypatch)
    slow = _configured(name, data, out, SLOW, monkeypatch)
    assert slow.asked() != fast.asked(), "or nothing is tested"
    folder = RunFolder(out)
    folder.write_config(fast)
    assert _configured(name, data, out, SLOW, monkeypatch).begun == slow.begun, "no step was taken with it"
    write_tensors(folder.checkpoint(1), {}, {})
    again = _configured(name, data, out, SLOW, monkeypatch)
    assert again.asked() == fast.asked()
    assert again.begun == fast.begun == Begun(gflops=0.55 * FAST)
    check_out(again, out)


def test_what_was_assumed_is_said(photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "385 GFLOP/s" in _configured("images", photos, tmp_path / "run", FAST, monkeypatch).note
    monkeypatch.setattr(processor, "top_speed", lambda: (SLOW, False))
    planned = configure("images", Request(photos, seconds=3600), tmp_path / "run")
    assert isinstance(planned, Config)
    assert "32x32 pixels in 1 h at 33 GFLOP/s, measured while the machine was busy;" in planned.note


def test_all_processes_choose_by_what_the_first_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "top_speed", lambda: (900.0, True))
    monkeypatch.setattr(processes, "gathered", lambda own: [(100.0, False), own])
    assert Request(seconds=60).speed() == pytest.approx((55.0, False))
