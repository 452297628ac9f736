"""What a run was begun with it keeps, however busy the machine is when it goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unstir import processes
from unstir.cli.train import configure
from unstir.errors import InputError
from unstir.kernels import processor
from unstir.recipes.request import Request
from unstir.tensors import write_tensors
from unstir.training.config import Begun, Config
from unstir.training.run_folder import RunFolder
from unstir.training.start import check_out, lasting

FAST, SLOW = 700.0, 60.0
SECONDS = {"images": 3600.0, "mnist": 240.0}


@pytest.fixture
def photos(tmp_path: Path) -> str:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(np.full((72, 80, 3), 50 * i, np.uint8)).save(folder / f"{i}.png")
    return str(folder)


def _configured(name: str, data: str | None, out: Path, speed: float, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(processor, "top_speed", lambda: (speed, True))
    planned = configure(name, Request(data, seconds=SECONDS[name]), out)
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
    assert again.begun == fast.begun == Begun(gflops=0.55 * FAST, budget={"seconds": SECONDS[name]})
    check_out(again, out)


@pytest.mark.parametrize(("name", "key"), [("images", "data.size"), ("mnist", "training.batch")])
def test_a_longer_budget_goes_on_with_what_the_first_one_chose(
    name: str, key: str, photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = photos if name == "images" else None, tmp_path / "run"
    monkeypatch.setattr(processor, "top_speed", lambda: (FAST, True))

    def configured(folder: Path, **budget: float | int) -> Config:
        planned = configure(name, Request(data, **budget), folder)  # type: ignore[arg-type]
        assert isinstance(planned, Config)
        return planned

    first, folder = configured(out, seconds=60), RunFolder(out)
    folder.write_config(first)
    write_tensors(folder.checkpoint(1), {}, {})
    assert configured(out, seconds=60).note == first.note
    fresh = configured(tmp_path / "new", seconds=36_000)
    for budget in ({"seconds": 36_000}, {"images": 5_000_000}):
        longer = configured(out, **budget)  # type: ignore[arg-type]
        assert lasting(longer) == lasting(first) != lasting(fresh)
        assert longer.training.budget == budget and longer.training.batch == first.training.batch
        assert f"a new run would have a {key} of " in longer.note and "another --out" in longer.note.lower()
        check_out(longer, out)
        folder.write_config(longer)  # what the first budget was is not forgotten
    with pytest.raises(InputError, match="holds another run: its seed is 0, not 3"):
        check_out(longer.model_copy(update={"seed": 3}), out)
    # A run that did not note it was begun under the budget that it has.
    folder.write_config(first.model_copy(update={"begun": Begun(gflops=first.begun.gflops)}))
    check_out(configured(out, seconds=36_000), out)


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


def test_a_size_is_asked_of_any_recipe_but_not_of_a_plan(tmp_path: Path) -> None:
    planned = configure("mnist-fc", Request("digits", images=100, size=16), tmp_path / "run")
    assert isinstance(planned, Config) and planned.data.size == (16, 16)
    with pytest.raises(InputError, match=r"is a plan: set the data\.size of each of its stages, not --size"):
        configure("digits-variations", Request(images=100, size=16), tmp_path / "plan")
