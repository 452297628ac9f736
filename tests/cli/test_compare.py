"""The table of the DDIM paper for any run, cell by cell, each drawn once."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unstir.cli.main import run
from unstir.evaluation import comparison
from unstir.models.denoiser import DenoiserModel

ALONE = "evaluate runs/digits --metrics fcd --sampler ddim --steps 4 --eta 1 -n 12 --json"
LINE = "compare runs/digits --steps 2,4 --eta 0,1 --variance large -n 12"


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    return workplace


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """How often a model was drawn from, and how."""
    calls: list[dict[str, Any]] = []
    plain = DenoiserModel.draw

    def counted(self: DenoiserModel, indices: Any, **how: Any) -> Any:
        calls.append(how)
        return plain(self, indices, **how)

    monkeypatch.setattr(DenoiserModel, "draw", counted)
    return calls


@pytest.mark.usefixtures("ruled")
def test_each_cell_is_drawn_once_and_is_what_evaluate_says(
    here: Path, drawn: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: Callable[..., Any] = comparison.measured

    def third_time(*given: Any) -> Any:
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return stopped(*given)

    with monkeypatch.context() as patch:
        patch.setattr(comparison, "measured", third_time)
        assert run(LINE.split()) == 130
    assert len(drawn) == 2 and not list(here.glob("runs/digits/evaluations/*.csv"))
    assert run([*LINE.split(), "--json"]) == 0
    assert len(drawn) == 6  # the first two are known
    capsys_out = capsys.readouterr().out.strip().splitlines()[-1]
    said = json.loads(capsys_out)
    cells = {(cell["way"], cell["steps"]): cell for cell in said["cells"]}
    assert [*cells] == [(way, n) for way in ("ddim eta=0", "ddim eta=1", "ddpm variance=large") for n in (2, 4)]
    assert all(cell["seconds"] > 0 and cell["evaluations"] == cell["steps"] for cell in cells.values())
    assert run(ALONE.split()) == 0
    alone = json.loads(capsys.readouterr().out)
    assert cells["ddim eta=1", 4]["value"] == pytest.approx(alone["fcd"], rel=1e-6)
    assert cells["ddim eta=1", 4]["real"] == pytest.approx(alone["fcd_floor"], rel=1e-6)
    assert cells["ddim eta=0", 4]["value"] != cells["ddim eta=1", 4]["value"]
    lines = [*csv.DictReader(Path(said["saved"]).read_text().splitlines())]
    assert [float(line["value"]) for line in lines] == [cell["value"] for cell in said["cells"]]
    assert Path(said["saved"]).with_suffix(".png").exists()
    # A larger table takes over what is known; another seed, another table.
    assert run([*LINE.replace("2,4", "2,3,4").split()]) == 0
    assert sorted(how["steps"] for how in drawn[7:]) == [3, 3, 3]
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["2", "3", "4"] in rows and any(row[:2] == ["ddim", "eta=0"] and len(row) == 5 for row in rows)
    assert run([*LINE.split(), "--seed", "1"]) == 0
    assert len(drawn) == 16
    # Against other images, other cells.
    line = "compare runs/digits --steps 4 --eta 1 -n 12 --against train --json"
    capsys.readouterr()
    assert run(line.split()) == 0 and len(drawn) == 17
    (cell,) = json.loads(capsys.readouterr().out)["cells"]
    assert run([*ALONE.split(), "--against", "train"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert cell["against"] == found["against"] == "train" and "against-train" in found["saved"]
    assert cell["value"] == pytest.approx(found["fcd"], rel=1e-6) and found["fcd"] != alone["fcd"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("compare runs/digits --steps 2,x", "--steps is numbers with commas, such as 10,20,50, not '2,x'"),
        ("compare runs/digits --sampler heun --eta 0,1", "None of the samplers heun takes --eta"),
        ("compare runs/digits --sampler hoin", "hoin"),
        ("compare runs/digits --metric fdc", "fdc"),
        ("compare runs/digits --metric bpd", "bpd is not of drawn images"),
        ("compare runs/digits --metric restoration", "restoration is not of drawn images"),
        ("compare runs/unlabelled --steps 2 -n 4 --metric accuracy", "drawn without labels"),
        ("compare runs/digits --eta 2", "eta"),
        ("compare runs/digits --against test", "measured against held-out or train images, not 'test'"),
        ("evaluate runs/digits --against trian", "did you mean 'train'?"),
        (
            "evaluate runs/digits --metrics bpd --against train",
            "--against is for drawing images, and bpd draws none",
        ),
        ("compare runs/dae", "draw"),
        ("compare runs/digits runs/missing", "missing"),
    ],
)
def test_wrong_input(line: str, expected: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("unstir: ") and said.count("\n") == 1 and expected in said
