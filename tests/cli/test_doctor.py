"""The command says what is wrong, in words and as JSON, and of a wrong input one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from unstir.cli.main import run


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    return workplace


def test_a_run_of_four_steps_is_said_to_be_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "runs/digits", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert not said["healthy"] and said["skipped"] == []
    causes = [finding["cause"] for finding in said["findings"]]
    assert {"hardly trained", "broken"} & {*causes}
    assert "labels" not in causes and "range" not in causes  # the digits are as they should be
    weights = [finding["weight"] for finding in said["findings"]]
    assert weights == sorted(weights, reverse=True)
    for finding in said["findings"]:
        assert finding["evidence"] and finding["remedy"] and finding["effect"] and finding["check"]


def test_what_a_model_cannot_do_is_not_asked_of_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "runs/dae"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Not looked at, as the model cannot do what it takes: sampler" in lines
    assert lines[-1].startswith(("The run is healthy.", "Above all: "))


def test_a_model_of_no_levels_is_not_judged_by_them(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "mnist-gan", "--data", "digits", "--smoke", "--out", "runs/gan"]) == 0
    capsys.readouterr()
    assert run(["doctor", "runs/gan", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["skipped"] == ["sampler", "average", "levels", "time and condition", "schedule"]
    assert {finding["check"] for finding in said["findings"]} <= {"samples", "copies", "time spent", "training"}
    assert "small network" not in [finding["cause"] for finding in said["findings"]]


def test_nothing_is_written(here: Path, listing: Callable[..., object]) -> None:
    before = listing(here)
    assert run(["doctor", "runs/dae"]) == 0
    assert listing(here) == before


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("doctor runs/missing", "There is no run folder or model file at runs/missing"),
        ("doctor runs/digits --data missing", "missing"),
        ("doctor runs/digits --data photos", "are 3x"),
    ],
)
def test_wrong_input(line: str, expected: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("unstir: ") and said.count("\n") == 1 and expected in said
