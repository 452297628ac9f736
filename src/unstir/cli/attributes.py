"""``unstir evaluate --metrics attributes``: whether what is drawn from captions shows what they state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.cli.places import default_place
from unstir.cli.report import Report
from unstir.cli.steering import Steering
from unstir.errors import InputError
from unstir.files import write_new

if TYPE_CHECKING:
    from unstir.models.config import ModelConfig


def attributes(
    run: Path,
    config: ModelConfig,
    n: int,
    seed: int,
    asked: dict[str, Any],
    steering: Steering,
    batch: int,
    as_json: bool,
) -> None:
    """Draw from captions of training scenes and of held-out ones, ``n`` of each; as ``unstir evaluate`` does.

    Raises:
        InputError: If the run is told no captions, or was not trained on scenes.
    """
    from unstir.training.run_folder import data_of

    config.require("draw")
    source = data_of(run)
    if not config.texts or source.source != "shapes":
        raise InputError("The metric attributes is of a run that is told the captions of 'shapes'")
    place = default_place(run, f"evaluations/attributes-n{n}-seed{seed}.json")

    import numpy as np

    from unstir.data.load import load as load_images

    splits = load_images(source)

    from unstir.evaluation.scenes import ATTRIBUTES, Rightness, scene_reader
    from unstir.models.file import load
    from unstir.processes import gathered, processes

    report, reader, model, rank = Report(as_json), scene_reader(), load(run), processes()
    how, found = asked | steering.arguments(), {}
    for name, data in {"seen": splits.train, "held-out": splits.held_out}.items():
        count = min(n, len(data))
        report.say(f"Drawing from {count:,} captions of {name} combinations, by {run}")
        chosen = np.linspace(0, len(data) - 1, count).round().astype(int)
        captions = [str(data.columns["caption"].values[i]) for i in chosen]
        share, rightness = range(count)[rank.process_index :: rank.num_processes], Rightness()
        main = rank.is_main_process
        for part in model.draw(share, prompt=captions, seed=seed, batch=batch, progress=main, **how):  # type: ignore[operator]
            rightness.add(reader.read(part.tensor), part.prompts)
        whole = Rightness()
        for other in gathered(rightness):
            whole.merge(other)
        found[name] = whole.shares()
    if not rank.is_main_process:
        return
    values = {
        "run": str(run),
        "attributes": found,
        "captions": n,
        "seed": seed,
        "sampling": steering.settings.model_dump(mode="json"),
        **steering.values(),
    }
    text, saved = json.dumps(values, indent=2) + "\n", None
    try:
        saved = write_new(place, lambda partial: partial.write_text(text))
    finally:  # what took long is told even where the disk is full
        rows = [
            (key, *(f"{shares[key]:.1%}" for shares in found.values()))
            for key in (*ATTRIBUTES, "attributes", "whole")
        ]
        report.table([("", *found), *rows])
        if saved or as_json:
            report.end(f"The figures are in {saved}", values | {"saved": saved and str(saved)})
