from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from unstir.errors import InputError
from unstir.kernels import processor as module
from unstir.kernels.processor import speeds, top_speed

ODD = [json.dumps({"float32": 1.0, "bf16": 1.0, "quiet": quiet}) for quiet in (1, None, "yes", 0.25)]

Measure = tuple[list[torch.dtype], dict[str, float]]


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Measure]:
    """Return the formats that have been measured, and what each measure says: a factor, and the threads' share."""
    kinds: list[torch.dtype] = []
    machine = {"factor": 10.0, "share": 0.95}

    def measure(kind: torch.dtype) -> tuple[float, float]:
        kinds.append(kind)
        return machine["factor"] * kind.itemsize, machine["share"]

    monkeypatch.setattr(module, "_measure", measure)
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path)
    yield kinds, machine
    _as_another_process()


def _as_another_process() -> None:
    speeds.cache_clear()
    top_speed.cache_clear()


def test_a_processor_is_measured_once(measured: Measure, tmp_path: Path) -> None:
    _as_another_process()
    first = speeds()
    assert first["float32"] == 40.0
    count = len(measured[0])
    assert count == 6 * len(first) > 0
    _as_another_process()
    assert speeds() == first
    assert len(measured[0]) == count


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", "null", "7", '{"float32": 1}', '{"float32": -1.0}', '{"float32": NaN}', "[" * 99999],
)
def test_a_kept_measure_that_is_damaged_is_made_anew(text: str, measured: Measure, tmp_path: Path) -> None:
    _as_another_process()
    first = speeds()
    (path,) = tmp_path.iterdir()
    whole = path.read_text()
    path.write_text(text)
    _as_another_process()
    assert speeds() == first
    assert path.read_text() == whole


def test_what_a_busy_machine_reached_gives_way_to_better(measured: Measure) -> None:
    _, machine = measured
    _as_another_process()
    machine.update(factor=1.0, share=0.5)
    assert speeds()["float32"] == 4.0
    assert top_speed() == (4.0, False)
    _as_another_process()
    assert top_speed() == (4.0, False), "also by what was kept of a busy moment"
    _as_another_process()
    machine.update(factor=10.0, share=0.95)
    assert speeds()["float32"] == 40.0
    _as_another_process()
    machine.update(factor=1.0, share=0.5)
    assert top_speed() == (40.0, True), "what was kept counts where it is more"
    assert speeds()["float32"] == 40.0


def test_while_the_machine_is_busy_two_runs_choose_alike(measured: Measure) -> None:
    _, machine = measured
    _as_another_process()
    machine.update(factor=2.0, share=0.5)
    first = speeds()
    _as_another_process()
    machine.update(factor=7.0)
    assert speeds() == first


def test_a_choice_by_speed_measures_anew(measured: Measure, tmp_path: Path) -> None:
    """Since what was kept may come from a busy moment, or be edited."""
    _, machine = measured
    _as_another_process()
    machine["factor"] = 2.0
    speeds()
    _as_another_process()
    machine["factor"] = 10.0
    assert top_speed() == (40.0, True)
    _as_another_process()
    assert speeds()["float32"] == 40.0, "and the better one is kept"


@pytest.mark.parametrize("error", [PermissionError, InputError])
def test_it_works_without_a_folder(
    error: type[Exception], measured: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise InputError("no") from error()

    monkeypatch.setattr(module, "cache_folder", refuse)
    _as_another_process()
    assert speeds()["float32"] == 40.0


def test_the_measure_counts_forward_and_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, ran = iter(range(1000)), iter(range(0, 1000, 3))
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(module.time, "process_time", lambda: float(next(ran)))
    monkeypatch.setattr(module.torch, "get_num_threads", lambda: 4)
    arithmetic = 3 * 2 * 8 * 16 * 16 * 192 * 192 * 9
    assert module._measure(torch.float32) == pytest.approx((arithmetic / 1e9, 3 / 4))


@pytest.mark.parametrize("without_gradients", [torch.no_grad, torch.inference_mode])
def test_who_wants_no_gradients_measures_the_same(without_gradients: type[torch.no_grad]) -> None:
    with without_gradients():
        assert module._measure(torch.float32)[0] > 0


@pytest.mark.parametrize(
    ("text", "share"), [("200000 100000", 1.5), ("max 100000", 0.75), ("", 0.75), ("1 0", 0.75)]
)
def test_of_a_container_the_processors_that_it_may_use_count(
    text: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, ran = iter(range(1000)), iter(range(0, 1000, 3))
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(module.time, "process_time", lambda: float(next(ran)))
    monkeypatch.setattr(module.torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(module, "_LIMIT", tmp_path / "cpu.max")
    (tmp_path / "cpu.max").write_text(text)
    assert module._measure(torch.float32)[1] == share
