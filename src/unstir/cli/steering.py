"""What steers drawing beside a model's own options: ``--classifier``, ``--scale`` and ``--weaker``. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unstir.errors import InputError

if TYPE_CHECKING:
    from unstir.models.config import ModelConfig, Settings


@dataclass(frozen=True)
class Steering:
    """How a model is to be drawn from, checked.

    Attributes:
        settings: Its own settings.
        classes: Of what is drawn: the classifier's, or without one the model's.
        models: The other models that are given, by their names as arguments of ``draw``.
        scale: The classifier's.
    """

    settings: Settings
    classes: tuple[str, ...]
    models: dict[str, Path]
    scale: float | None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``draw``, loaded."""
        from unstir.models.file import load

        return {**{name: load(path) for name, path in self.models.items()}, "scale": self.scale}

    def values(self) -> dict[str, object]:
        """Return what is told of it in a report."""
        scale = {"scale": 1.0 if self.scale is None else self.scale} if "classifier" in self.models else {}
        return {**{name: str(path) for name, path in self.models.items()}, **scale}


def steered(
    run: Path,
    config: ModelConfig,
    asked: Mapping[str, object],
    classifier: Path | None,
    scale: float | None,
    weaker: Path | None,
) -> Steering:
    """Return how a model is to be drawn from.

    Args:
        run: The model.
        config: Its configuration.
        asked: The options of drawing.
        classifier: What ``--classifier`` names.
        scale: What ``--scale`` says.
        weaker: What ``--weaker`` names.

    Raises:
        InputError: For a value out of range, a model that is not there, or one that cannot guide this one, as it
            is of another kind, or was seen to be trained on other images.
    """
    from unstir.models.config import check_scale
    from unstir.models.file import read_config
    from unstir.training.run_folder import images_of

    check_scale(scale, classifier)
    named = {"classifier": classifier, "weaker": weaker}
    models = {name: path for name, path in named.items() if path is not None}
    others = {name: read_config(path)[1] for name, path in models.items()}
    settings = config.drawing(asked, **others)
    if classifier is not None and len({images_of(run), images_of(classifier)} - {""}) > 1:
        raise InputError(f"The classifier {classifier} was trained on other images than {run}")
    return Steering(settings, others.get("classifier", config).classes, models, scale)
