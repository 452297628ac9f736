"""A tiny run of the digits, what its model answered, and pages made of it; each once for all tests."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from unstir.doctor import examine
from unstir.web.report.examined import Examined, examined
from unstir.web.report.page import page
from unstir.web.report.record import Record, record

sys.path.insert(0, str(Path(__file__).parent))

EVALUATION = {
    "samples": 30,
    "reference_images": 360,
    "backbone": "classifier",
    "backbone_key": "abc",
    "fcd": 12.3456,
    "fcd_low": 11.5,
    "fcd_high": 13.25,
    "fcd_floor": 0.628,
    "data": "digits",
    "seed": 3,
    "sampling": {"sampler": {"name": "ddim", "eta": 0.0}, "steps": 2, "guidance": 0.5},
}
"""What ``unstir evaluate`` saves."""

TABLE = """run,way,steps,evaluations,metric,value,real,seconds,n,seed
runs/a,ddim eta=0,2,2,fcd,71.25,1.5,0.01,12,0
runs/a,ddim eta=0,4,4,fcd,33.5,1.5,0.02,12,0
"""
"""What ``unstir compare`` saves."""

LOOKED_AT = ("data", "file", "sampler", "training", "time spent")
"""The quick ones of the doctor's checks, which has tests of its own."""

CHANGED = {"learning_rate": 0.0123, "clip": 2.5}


@pytest.fixture(scope="session", autouse=True)
def cache(own_cache: Path) -> Iterator[Path]:
    """A cache of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSTIR_CACHE", str(own_cache))
        yield own_cache


@pytest.fixture(scope="session")
def ran(cache: Path, once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A folder with runs and what their models answered: ``a``; ``b``, a copy of it with two settings changed; and
    ``dae``, which only cleans.
    """
    from unstir.cli.main import run

    def fill(folder: Path) -> None:
        for name, recipe in (("a", "digits"), ("dae", "mnist-dae")):
            line = ["train", recipe, "--data", "digits", "--smoke", "--out", str(folder / name)]
            assert run(line) == 0
        (folder / "a" / "evaluations").mkdir()
        (folder / "a" / "evaluations" / "ddim-2-n30-seed3.json").write_text(json.dumps(EVALUATION))
        (folder / "a" / "evaluations" / "comparison.csv").write_text(TABLE)
        shutil.copytree(folder / "a", folder / "b")
        config = folder / "b" / "config.yaml"
        values = yaml.safe_load(config.read_text())
        values["training"] |= CHANGED
        config.write_text(yaml.safe_dump(values, sort_keys=False))
        for name in ("a", "dae"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(examine, "CHECKS", [one for one in examine.CHECKS if one.name in LOOKED_AT])
                answer = examined(record(folder / name))
            assert answer.diagnosis is not None  # but for how its pictures are drawn, which cannot be kept
            plain = [replace(finding, picture=None) for finding in answer.diagnosis.findings]
            answer.diagnosis = replace(answer.diagnosis, findings=plain)
            (folder / f"{name}.pickle").write_bytes(pickle.dumps(answer))

    return once("reported", fill)


@pytest.fixture(scope="session")
def found(ran: Path) -> dict[str, tuple[Record, Examined]]:
    """The runs and what their models answered; that of ``b`` is ``a``'s, whose weights it has."""
    answers = {name: pickle.loads((ran / f"{name}.pickle").read_bytes()) for name in ("a", "dae")}
    answers["b"] = answers["a"]
    return {name: (record(ran / name), answer) for name, answer in answers.items()}


@pytest.fixture(scope="session")
def pages(found: dict[str, tuple[Record, Examined]]) -> Callable[..., str]:
    """Make the page of runs by their names, once each."""
    made: dict[tuple[str, ...], str] = {}

    def of(*names: str) -> str:
        if names not in made:
            made[names] = page([found[name] for name in names])
        return made[names]

    return of
