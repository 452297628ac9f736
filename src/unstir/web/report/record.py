"""What lies in a run's folder, as plain data: its configuration, log, pictures and figures. No model is asked."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unstir.errors import InputError
from unstir.evaluation.comparison import Cell
from unstir.files import read_text
from unstir.models.config import ModelConfig
from unstir.models.file import read_config
from unstir.training.checkpoint import Position, newest_checkpoint
from unstir.training.config import Config
from unstir.training.log import lines
from unstir.training.run_folder import RunFolder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """A picture that training drew.

    Attributes:
        images: How many images had been seen.
        path: Its file.
    """

    images: int
    path: Path


@dataclass(frozen=True)
class Table:
    """What ``unstir compare`` saved: its name and its cells."""

    name: str
    cells: list[Cell]


@dataclass(frozen=True)
class Record:
    """A run as its folder has it; of a model file alone there is the model's configuration and nothing else.

    Attributes:
        run: As the user named it.
        model: The model's configuration.
        begun: The run's; None without it.
        text: ``config.yaml`` as it stands; "" without it.
        position: Where training stands; None where there is no checkpoint.
        log: A mapping for each line.
        pictures: The oldest first.
        evaluations: What ``unstir evaluate`` saved, by the file's name.
        tables: What ``unstir compare`` saved.
    """

    run: Path
    model: ModelConfig
    begun: Config | None
    text: str
    position: Position | None
    log: list[dict[str, Any]]
    pictures: list[Picture]
    evaluations: dict[str, dict[str, Any]]
    tables: list[Table]


def names_of(records: Sequence[Record]) -> list[str]:
    """Return what runs are called: the last parts of their paths, or where two have the same the whole paths."""
    short = [record.run.name or record.run.absolute().name for record in records]
    return short if len({*short}) == len(short) else [str(record.run) for record in records]


def record(run: Path) -> Record:
    """Read a run's folder, or a model file.

    Raises:
        InputError: If there is no such run or model, or its configuration or its newest checkpoint is damaged.
    """
    weights, config = read_config(run)
    folder = RunFolder(weights.parent)
    if not (run.is_dir() and folder.config.exists()):
        return Record(run, config, None, "", None, [], [], {}, [])
    newest = newest_checkpoint(folder)
    # Of a plan figures lie in its own folder, and pictures in that of its last stage.
    places = dict.fromkeys(place / "evaluations" for place in (run, folder.path))
    return Record(
        run,
        config,
        folder.read_config(),
        read_text(folder.config),
        newest[1] if newest else None,
        lines(folder.metrics),
        [Picture(*found) for found in folder.pictures()],
        {path.name: values for place in places for path in _files(place, "json") if (values := _figures(path))},
        [table for place in places for path in _files(place, "csv") if (table := _table(path))],
    )


def _files(folder: Path, ending: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"*.{ending}") if path.is_file())


def _figures(path: Path) -> dict[str, Any] | None:
    """Return what an evaluation came to; None of a file that is something else, which is said."""
    try:
        values = json.loads(read_text(path))
    except (InputError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        _log.warning("%s is left out: it holds no figures", path)
        return None
    return values


def _table(path: Path) -> Table | None:
    """Return a table; None of a file that is something else, which is said."""
    try:
        cells = [_cell(line) for line in csv.DictReader(read_text(path).splitlines())]
    except (InputError, ValueError, TypeError, KeyError, csv.Error):
        cells = []
    if not cells:
        _log.warning("%s is left out: it holds no table", path)
        return None
    return Table(path.stem, cells)


def _cell(line: Mapping[str, str]) -> Cell:
    return Cell(
        line["run"],
        line["way"],
        int(line["steps"]),
        int(line["evaluations"]),
        line["metric"],
        float(line["value"]),
        float(line["real"]) if line["real"] else None,
        float(line["seconds"]),
        int(line["n"]),
        int(line["seed"]),
    )
