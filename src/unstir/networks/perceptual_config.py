"""Which network's features say how far two images are apart for the eye. No torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import field_validator

from unstir.config import AtLeastZero, Part
from unstir.errors import InputError, nearest

if TYPE_CHECKING:
    import torch

    from unstir.networks.perceptual import Distance

EFFICIENTNET, LPIPS, CLASSIFIER, NONE = "efficientnet-lite0", "lpips", "classifier", "none"

NETWORKS: dict[str, str] = {
    EFFICIENTNET: "EfficientNet-Lite0 of ImageNet, from a Python package",
    LPIPS: "VGG16 of ImageNet under LPIPS's weights, which are downloaded",
    CLASSIFIER: "a classifier of clean images, the part 'classifier'",
    NONE: "none: pixels alone are compared",
}

VGG_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
LPIPS_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-vgg16-lpips.pth"

COLOURS = (1, 3, 4)
"""The channels of images that ImageNet's networks can be shown: gray, RGB, and RGB with opacity."""


class PerceptualConfig(Part):
    """A perceptual distance, :func:`unstir.networks.perceptual.feature_distance`.

    Attributes:
        network: Out of ``NETWORKS``; with ``@PATH`` behind it by weights of your own.
        weight: Of the distance beside the mean absolute error of pixels.
    """

    network: str = EFFICIENTNET
    weight: AtLeastZero = 1.0

    @field_validator("network")
    @classmethod
    def _known(cls, network: str) -> str:
        name, at, path = network.partition("@")
        if name not in NETWORKS:
            raise ValueError(f"there are {', '.join(NETWORKS)}{nearest(name, list(NETWORKS))}")
        if at and (not path or name in (CLASSIFIER, NONE)):
            raise ValueError(f"behind {EFFICIENTNET}@ and {LPIPS}@ comes a path, and behind the others nothing")
        return network

    @property
    def name(self) -> str:
        """The network without its path; ``none`` where the distance has no weight."""
        return self.network.partition("@")[0] if self.weight else NONE

    @property
    def path(self) -> Path | None:
        """Where its weights are, if not in their usual place."""
        path = self.network.partition("@")[2]
        return Path(path).expanduser() if path else None

    def check(self, channels: int) -> None:
        """Check that images of so many channels can be compared, and that weights of one's own are there.

        Raises:
            InputError: If not.
        """
        if self.name in (EFFICIENTNET, LPIPS) and channels not in COLOURS:
            raise InputError(
                f"The perceptual network '{self.name}' sees images of 1, 3 or 4 channels, and these have "
                f"{channels}: set perceptual.network={NONE}"
            )
        if self.name != NONE and self.path is not None and not self.path.exists():
            raise InputError(f"There is nothing at {self.path}, where the weights of '{self.name}' should be")

    def tiny(self) -> PerceptualConfig:
        """Return one whose weights need no download."""
        return self.model_copy(update={"network": EFFICIENTNET}) if self.network == LPIPS else self

    def load(self, device: torch.device) -> Distance:
        """Return the distance by one of ImageNet's networks, which is read once and shared.

        Raises:
            InputError: If its weights are not there.
        """
        from unstir.networks.perceptual import pretrained_distance

        return pretrained_distance(self.name, self.path, device)


def lpips_at_hand() -> bool:
    """Whether LPIPS's weights have been downloaded, into the folder that is torch's unless it was told another."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    folder = Path(os.environ.get("TORCH_HOME") or cache).expanduser() / "hub" / "checkpoints"
    return all((folder / url.rpartition("/")[2]).exists() for url in (VGG_URL, LPIPS_URL))
