"""``unstir evaluate --metrics attributes``: whether what is drawn from captions shows what they state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.cli.places import default_place
from unstir.cli.report import Report
from unstir.cli.steering import Steering
from unstir.errors import InputError

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
    from unstir.models.encoders import check_encoder
    from unstir.training.run_folder import data_of

    source = data_of(run)
    if not config.texts or source.source != "shapes" or config.image_shape[0] != 3:
        raise InputError("The metric attributes is of a run that is told the captions of 'shapes', in colour")
    for name, one in config.texts.items():
        check_encoder(name, one)
    place = default_place(run, f"evaluations/attributes-n{n}-seed{seed}.json")

    import numpy as np

    from unstir.data.load import load as load_images

    splits = load_images(source)

    from unstir.evaluation.scenes import ATTRIBUTES, Rightness, scene_reader
    from unstir.models.file import load
    from unstir.processes import gathered, processes

    report, model, rank = Report(as_json), load(run), processes()
    report.say("Pictures are read by a reader of scenes, which is trained once, in some minutes, and kept")
    reader = scene_reader()
    how, found, drawn = asked | steering.arguments(), {}, {}
    for name, data in {"seen": splits.train, "held-out": splits.held_out}.items():
        count = drawn[name] = min(n, len(data))
        report.say(f"Drawing from {count:,} captions of {name} combinations, by {run}")
        chosen = np.linspace(0, len(data) - 1, count).round().astype(int)
        how["prompt"] = [str(data.columns["caption"].values[i]) for i in chosen]
        # A label is the kind that the caption names first.
        how["label"] = data.labels[chosen].tolist() if steering.classes and data.labels is not None else None
        share, rightness = range(count)[rank.process_index :: rank.num_processes], Rightness()
        for part in model.draw(share, seed=seed, batch=batch, progress=rank.is_main_process, **how):  # type: ignore[operator]
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
        "captions": drawn,
        "seed": seed,
        "sampling": steering.settings.model_dump(mode="json"),
        **steering.values(),
    }
    names = (*ATTRIBUTES, "attributes", "whole")
    rows = [(name, *(f"{shares[name]:.1%}" for shares in found.values())) for name in names]
    report.keep(place, values, [("", *found), *rows])
