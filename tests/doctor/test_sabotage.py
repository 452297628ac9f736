"""The first finding names what was broken; a run in which nothing was is healthy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sabotage import SABOTAGES, Sabotage, examined, train_healthy

from unstir.doctor.examine import examine
from unstir.doctor.patient import Patient


@pytest.fixture(scope="module")
def healthy(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    return once("healthy", lambda folder: train_healthy(folder / "run") and None) / "run"


@pytest.mark.slow
def test_a_healthy_run_is_said_to_be_one(healthy: Path) -> None:
    diagnosis = examine(Patient(healthy))
    assert diagnosis.healthy and diagnosis.skipped == []


HARMLESS = {
    "time divided by 1000": "so small a network tells levels apart all the same, and there is nothing to find"
}


def _cases() -> list[object]:
    """Return the sabotages, marked where one is known to do no harm."""
    marks = {what: [pytest.mark.xfail(reason=why)] for what, why in HARMLESS.items()}
    return [pytest.param(one, marks=marks.get(one.what, []), id=one.what) for one in SABOTAGES]


@pytest.mark.slow
@pytest.mark.parametrize("sabotage", _cases())
def test_the_first_finding_names_the_cause(sabotage: Sabotage, healthy: Path, tmp_path: Path) -> None:
    if sabotage.source != "digits" and not Path(sabotage.source).exists():
        pytest.skip(f"there are no photographs at {sabotage.source}")
    found = examined(sabotage, healthy, tmp_path / "run").findings
    assert found[0].cause in sabotage.causes, [(finding.cause, finding.weight) for finding in found]
    assert found[0].alarming
