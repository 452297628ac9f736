from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from unstir.errors import InputError
from unstir.kernels import processor as module
from unstir.kernels.processor import speeds


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.dtype]]:
    """Return the formats that have been measured; each is said to be ten times the width of a number."""
    kinds: list[torch.dtype] = []

    def measure(kind: torch.dtype) -> float:
        kinds.append(kind)
        return 10.0 * kind.itemsize

    monkeypatch.setattr(module, "_measure", measure)
    monkeypatch.setattr(module, "cache_folder", lambda: tmp_path)
    speeds.cache_clear()
    yield kinds
    speeds.cache_clear()


def test_a_processor_is_measured_once(measured: list[torch.dtype], tmp_path: Path) -> None:
    first = speeds()
    assert first["float32"] == 40.0
    count = len(measured)
    assert count == len(first) > 0
    speeds.cache_clear()  # as in another process
    assert speeds() == first
    assert len(measured) == count
    (path,) = tmp_path.iterdir()
    path.write_text("{")
    speeds.cache_clear()
    assert speeds() == first  # measured again, and kept again
    assert len(measured) == 2 * count


@pytest.mark.parametrize("error", [PermissionError, InputError])
def test_it_works_without_a_folder(
    error: type[Exception], measured: list[torch.dtype], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> Path:
        raise error

    monkeypatch.setattr(module, "cache_folder", refuse)
    assert speeds()["float32"] == 40.0


def test_the_measure_counts_forward_and_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(clock)))
    arithmetic = 3 * 2 * 8 * 16 * 16 * 192 * 192 * 9
    assert module._measure(torch.float32) == pytest.approx(arithmetic / 1e9)


@pytest.mark.parametrize("without_gradients", [torch.no_grad, torch.inference_mode])
def test_who_wants_no_gradients_measures_the_same(without_gradients: type[torch.no_grad]) -> None:
    with without_gradients():
        assert module._measure(torch.float32) > 0
