"""The backbones by name; light, so that a wrong name is answered before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unstir.errors import InputError, nearest
from unstir.networks.perceptual_config import EFFICIENTNET

CLASSIFIER = "classifier"
INCEPTION = "inception"
PIXELS = "pixels"
TORCHVISION = "torchvision:"

BACKBONES: dict[str, str] = {
    CLASSIFIER: "the set's own classifier, trained at the first call; for a set with labels",
    EFFICIENTNET: "EfficientNet-Lite0 of ImageNet, from a Python package; the default of sets without labels",
    PIXELS: "the pixels themselves, averaged to at most 16 a side; no network",
    INCEPTION: "the Inception of FID, by torch-fidelity",
    "dinov2": "DINOv2, ViT-L/14, by torch-fidelity",
    "dinov2-small": "DINOv2, ViT-S/14, by torch-fidelity",
    "clip": "CLIP's image encoder, ViT-B/32, by torch-fidelity",
}
"""What reads images; and ``torchvision:NAME`` for any classifier of torchvision."""


@dataclass(frozen=True)
class BackboneName:
    """A backbone as it is asked for.

    Attributes:
        name: Out of ``BACKBONES``, or ``torchvision:`` and the name of a network there.
        path: Where its weights are; None for their usual place.
    """

    name: str
    path: Path | None = None

    @classmethod
    def parse(cls, text: str) -> BackboneName:
        """Read ``NAME`` or ``NAME@PATH``.

        Raises:
            InputError: If there is no such backbone, or it takes no path; the names within torchvision are
                checked when the network is made.
        """
        name, at, path = text.partition("@")
        inside = name.startswith(TORCHVISION) and name != TORCHVISION
        if name not in BACKBONES and not inside:
            known = [*BACKBONES, f"{TORCHVISION}resnet50"]
            raise InputError(
                f"no backbone is called '{name}' (there are {', '.join(BACKBONES)} and {TORCHVISION}NAME)"
                f"{nearest(name, known)}"
            )
        if at and name == PIXELS:
            raise InputError("the backbone 'pixels' has no weights and takes no path")
        if at and name == CLASSIFIER:
            raise InputError("the backbone 'classifier' is trained on the set itself and takes no path")
        if at and not path:
            raise InputError(f"the backbone '{text}' names no path behind its @")
        return cls(name, Path(path) if at else None)

    def check_path(self) -> None:
        """Raise an `InputError` if its weights are said to be where nothing is."""
        if self.path is not None and not self.path.exists():
            raise InputError(f"there is nothing at {self.path}, where the weights of '{self.name}' should be")

    def __str__(self) -> str:
        """Return it as it is written."""
        return self.name if self.path is None else f"{self.name}@{self.path}"
