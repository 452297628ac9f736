"""The command says what is wrong, in words and as JSON, and of a wrong input one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from unstir.cli.doctor import save_pictures
from unstir.cli.main import run
from unstir.doctor.finding import Finding
from unstir.doctor.pictures import curves


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
    pictures = [Path(finding["picture"]) for finding in said["findings"] if finding["picture"]]
    assert pictures and all(path.is_file() for path in pictures)
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
    assert said["skipped"] == [
        "sampler",
        "average",
        "levels",
        "time and condition",
        "walk",
        "learning rate",
        "precision",
        "schedule",
    ]
    assert {finding["check"] for finding in said["findings"]} <= {"samples", "copies", "time spent", "training"}
    assert "small network" not in [finding["cause"] for finding in said["findings"]]


def test_pictures_alone_are_written_and_take_the_place_of_earlier_ones(here: Path) -> None:
    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()}

    drawn = Finding("a cause", "", "", "", "", 1.0, picture=lambda: curves([1, 2], {"y": [1, 2]}, "x", "y"))
    before = files()
    for _ in range(2):
        saved = save_pictures(Path("runs/dae"), [drawn, replace(drawn, cause="b", picture=None)])
        assert saved == {"a cause": str(Path("runs/dae/figures/doctor/a-cause.png"))}
        assert {path.relative_to(here) for path in files().keys() - before.keys()} == {Path(saved["a cause"])}
        assert before.items() <= files().items()
    assert save_pictures(Path("runs/dae/model.safetensors"), [drawn]) == {}


@pytest.mark.slow
def test_a_training_is_watched_as_long_as_someone_trains(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held = iter([True, True, False])
    monkeypatch.setattr("unstir.cli.doctor.is_held", lambda folder: next(held))
    monkeypatch.setattr("unstir.cli.doctor.PAUSE", 0.0)
    assert run(["doctor", "runs/digits", "--watch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    looks = [line for line in lines if "images" in line and "linear denoiser" in line]
    assert len([line for line in looks if line.startswith("32 images, ")]) == 1  # nothing new was saved since
    assert "No training is going on there: this is all of it" in lines


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
