"""Fitting images of any height and width to a network's stride, and changing their resolution."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def pad_to(x: Tensor, stride: int) -> Tensor:
    """Pad the images (B, C, H, W) at the right and bottom, repeating the edge, to multiples of ``stride``.

    The caller crops the result back with ``y[..., :H, :W]``.
    """
    height, width = x.shape[-2:]
    if height % stride == 0 and width % stride == 0:
        return x
    return functional.pad(x, (0, -width % stride, 0, -height % stride), mode="replicate")


def halved(x: Tensor) -> Tensor:
    """Return the mean of each square of 2x2 pixels, (B, C, H / 2, W / 2) for even H and W."""
    return functional.avg_pool2d(x, 2)


def doubled(x: Tensor) -> Tensor:
    """Return each pixel as a square of 2x2, (B, C, 2 H, 2 W)."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")
