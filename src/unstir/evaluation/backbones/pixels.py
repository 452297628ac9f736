r"""The pixels themselves as features, which need no network: what is near is alike pixel by pixel.

Images of more than 16 pixels a side are averaged down to as many, so that there are at most 256 numbers for each
channel. Copies are told from new images as in the paper on memorization (Yoon et al. 2023), which measures in
pixels; of how good an image looks pixels know little.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from unstir.evaluation.backbones.backbone import Seen, key
from unstir.evaluation.backbones.names import PIXELS

SIDE = 16


class PixelBackbone:
    """Reads images of any number of channels."""

    name = PIXELS

    def __init__(self) -> None:
        self.key = key(PIXELS, f"averaged to at most {SIDE}")

    def read(self, images: Tensor) -> Seen:
        """Return the pixels of images (N, C, H, W), float32 in [-1, 1]."""
        height, width = (min(side, SIDE) for side in images.shape[2:])
        return Seen(functional.adaptive_avg_pool2d(images, (height, width)).flatten(1).double().cpu())
