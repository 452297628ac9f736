"""EfficientNet-Lite0 as a backbone: ImageNet features that come with a Python package, without a download."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from unstir.evaluation.backbones.backbone import NetworkBackbone, Seen, resized
from unstir.evaluation.backbones.names import EFFICIENTNET
from unstir.networks.efficientnet import DEVIATION, MEAN, pretrained

SIDE = 224


def efficientnet(path: Path | None = None) -> NetworkBackbone:
    """Return the backbone of EfficientNet-Lite0: 1,280 features.

    The whole image is resized to 224 pixels a side; TensorFlow's own evaluation crops its middle first.

    Raises:
        InputError: If the package of its weights is missing, or ``path`` holds others.
    """
    network = pretrained(path)

    def see(pixels: Tensor) -> Seen:
        features, logits = network((resized(pixels, SIDE, "bicubic") - MEAN) / DEVIATION)
        return Seen(features, logits.double().softmax(1))

    return NetworkBackbone(EFFICIENTNET, network, f"bicubic {SIDE} {MEAN} {DEVIATION}", see)
