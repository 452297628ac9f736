"""What an edit is told beside the picture: ``--label``, ``--prompt``, ``--condition``, and what else steers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.cli.sample import read_table, split_labels
from unstir.cli.steering import steered
from unstir.errors import InputError
from unstir.networks.told import DEGRADED, TASK

if TYPE_CHECKING:
    from unstir.cli.steering import Steering
    from unstir.models.config import ModelConfig
    from unstir.models.table import Table


@dataclass(frozen=True)
class Telling:
    """What is told, checked.

    Attributes:
        labels: The class of each result, or None.
        prompts: The texts, in turn.
        table: The conditions.
        steering: The models that steer, and the settings.
    """

    labels: Sequence[str] | None
    prompts: Sequence[str]
    table: Table
    steering: Steering

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``draw``, loaded."""
        told = {"label": self.labels, "prompt": self.prompts or None, "told": self.table.tensors()}
        return {**told, **self.steering.arguments()}

    def values(self) -> dict[str, object]:
        """Return what is told of it in a report."""
        sampling = self.steering.settings.model_dump(mode="json")
        prompts = {"prompts": list(self.prompts)} if self.prompts else {}
        return {"labels": self.labels, **prompts, "sampling": sampling, **self.steering.values()}


def telling(
    run: Path,
    config: ModelConfig,
    asked: Mapping[str, object],
    label: str | None,
    n: int,
    given: Mapping[str, Any],
) -> Telling:
    """Return what ``n`` results of an edit are told.

    Args:
        run: The model.
        config: Its configuration.
        asked: The options of drawing.
        label: The class of each, as it is written.
        n: How many there are.
        given: Its other options, by name.

    Raises:
        InputError: For what the model cannot be told or cannot do without, or several values of one condition.
    """
    from unstir.models.config import prompt_list

    steering = steered(run, config, asked, given["classifier"], given["scale"], given["weaker"])
    labels = picture_labels(label, steering.classes, n)
    prompts = prompt_list(config.texts, given["prompt"])
    rest = {name: one for name, one in config.told.items() if name not in (DEGRADED, TASK)}
    others = config.model_copy(update={"told": rest})
    table = read_table(others, steering.classes, given["condition"] or [], None, prompts, n)
    if table.across:
        raise InputError(f"An edit is told one value of each condition, and not several of {table.across.name}")
    return Telling(labels, prompts, table, steering)


def picture_labels(label: str | None, classes: Sequence[str], n: int) -> list[str] | None:
    """Return the class of each result, for a model of classes or one that a classifier guides.

    Raises:
        InputError: If it was not said, or there is no such class, or are none at all.
    """
    from unstir.models.config import label_indices

    if label is None and classes:
        known = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
        raise InputError(f"This model is told a label: say what the picture shows by --label, out of {known}")
    labels = split_labels(label, classes, n)
    label_indices(classes, labels, range(n))
    return labels
