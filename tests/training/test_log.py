"""The log of a run goes on where the run does, whatever a power cut left of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from unstir.training.log import RunLog
from unstir.training.run_folder import RunFolder


def _steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_lines_of_steps_that_are_to_come_again_go(tmp_path: Path) -> None:
    with RunLog(RunFolder(tmp_path), 0, "x") as log:
        for step in (1, 2, 3, 4):
            log.write(step, {"loss": 1 / step})
    with RunLog(RunFolder(tmp_path), 2, "x") as log:
        assert _steps(tmp_path) == [1, 2]
        log.write(3, {"loss": 0.5})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": 0.5}]


DAMAGE = {
    "nothing": b"\n\n",
    "zeros": b"\0" * 500 + b"\n",
    "zeros without an end": b"\0" * 500,
    "half a line": b'{"step": 3, "lo',
    "half a letter": '{"step": 3, "ä'.encode()[:-1],
    "another kind": b"[1]\n7\nnull\n{}\n",
    "another step": b'{"step": "two"}\n',
    "no end": b"[" * 9999 + b"\n",
}


@pytest.mark.parametrize("where", ["first", "between", "last"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_a_power_cut_left_in_the_place_of_lines_is_left_out_and_said(
    damage: str, where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = [b'{"step": 1, "loss": 1.5}\n', b'{"step": 2, "loss": 0.5}\n']
    whole = DAMAGE[damage] if DAMAGE[damage].endswith(b"\n") or where == "last" else DAMAGE[damage] + b"\n"
    good.insert({"first": 0, "between": 1, "last": 2}[where], whole)
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(good))
    with caplog.at_level(logging.WARNING), RunLog(RunFolder(tmp_path), 2, "x") as log:
        log.write(3, {"loss": 0.25})
    assert _steps(tmp_path) == [1, 2, 3]
    torn = where == "last" and not whole.endswith(b"\n")  # as any kill may leave the last line
    assert ("what is damaged of it is left out, " in caplog.text) != torn
