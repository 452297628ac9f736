from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import benchmarks.__main__ as command
import pytest
from benchmarks.report import save, show, summary
from rich.console import Console

MACHINE = {"gpu": None, "processor": "some", "cores": 2, "threads": 2, "bfloat16": [], "date": "2026-11-22T10"}
SECONDS = {"unstir": 2.0, "unstir-float32": 3.0, "diffusers": 6.0}


def _workload(*names: str) -> dict[str, Any]:
    """Return the measurements of some contenders, in this order."""
    mode = {"precision": "float32", "channels_last": True, "tuned": False}
    common = {"sample": summary([1.0]), "parameters": 1e6, "flops": 1e9, "peak_bytes": 1e9, "mode": mode}
    floor = {"flops": 1e9, "seconds": 1.0, "products": 3} if "unstir" in names else None
    return {
        "name": "10M",
        "batch": 4,
        "sample_batch": 1,
        "contenders": [{"contender": name, "step": summary([SECONDS[name]]), **common} for name in names],
        "floor": floor,
        "pipeline": {"images": 8, "seconds": 1.0} if floor else None,
    }


def _shown(*workloads: dict[str, Any]) -> str:
    machine = {**MACHINE, "cores_used_by_others": 0}
    console = Console(file=io.StringIO(), width=200)
    show({"machine": machine, "rounds": 1, "workloads": list(workloads)}, console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def _against_unstir(shown: str) -> dict[str, str]:
    """Return that column by contender; it stands before the last two."""
    rows = [line.split() for line in shown.splitlines() if "10M" in line and " to " in line]
    return {row[1]: row[-3] for row in rows}


def test_all_are_measured_against_unstir_wherever_it_stands() -> None:
    shown = _shown(_workload("diffusers", "unstir", "unstir-float32"))
    assert _against_unstir(shown) == {"diffusers": "3.00", "unstir": "1.00", "unstir-float32": "1.50"}
    assert "unstir's fastest step takes 2.00 times its floor" in shown


def test_without_unstir_there_is_nothing_to_measure_against() -> None:
    shown = _shown(_workload("diffusers", "unstir-float32"))
    gflops = {"diffusers": "0", "unstir-float32": "0"}  # the column before it
    assert _against_unstir(shown) == gflops
    assert "floor" not in shown


def test_contenders_keep_their_order_and_take_part_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(command, "missing", lambda name: None)
    monkeypatch.setattr(
        command, "_measure", lambda workload, names, *rest: asked.append(names) or _workload(*names)
    )
    arguments = ["--quick", "--networks", "tiny", "--contenders", "diffusers", "unstir", "diffusers"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    command.main()
    assert asked == [["unstir", "diffusers"]]


def test_a_second_report_of_a_day_leaves_the_first(tmp_path: Path) -> None:
    first = save({"machine": MACHINE, "workloads": ["all"]}, tmp_path)
    second = save({"machine": MACHINE, "workloads": []}, tmp_path)
    assert "all" in first.read_text()
    assert second.stem == f"{first.stem}-2"
