"""Fitting images of any height and width to a network's stride."""

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
