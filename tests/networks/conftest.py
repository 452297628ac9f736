from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from unstir.networks.fully_connected import FullyConnectedUNet
from unstir.networks.plain_unet import PlainUNet
from unstir.networks.refinenet import RefineNet
from unstir.networks.unet import UNet

Shape = Sequence[int]

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "unet": lambda s, **k: UNet(s[0], channels=(8, 16), blocks=1, attention=("linear", "full"), **k),
    "unet-plain-attention": lambda s, **k: UNet(
        s[0], channels=(8, 16, 16), blocks=1, attention=("none",) * 3, **k
    ),
    "unet-patch2-layer": lambda s, **k: UNet(
        s[0], channels=(8, 16), blocks=2, attention=("none", "linear"), patch=2, kind="layer", **k
    ),
    "unet-patch3": lambda s, **k: UNet(s[0], channels=(16, 8), blocks=1, attention=("full", "none"), patch=3, **k),
    "plain": lambda s, **k: PlainUNet(s[0], channels=(8, 16, 16), embedding=8, **k),
    "refinenet": lambda s, **k: RefineNet(s[0], channels=(8, 12, 12), blocks=2, **k),
    "refinenet-patch2": lambda s, **k: RefineNet(s[0], channels=(8, 8), blocks=1, patch=2, **k),
    "fully_connected": lambda s, **k: FullyConnectedUNet(tuple(s), widths=(24, 16, 8), **k),
    "fully_connected-no-norm": lambda s, **k: FullyConnectedUNet(tuple(s), widths=(24,), norm=False, **k),
}


@pytest.fixture(params=NETWORKS)
def make(request: pytest.FixtureRequest) -> Callable[..., nn.Module]:
    """Return a maker of one kind of network, whose zero parameters are made random so that all take part."""

    def build(shape: Shape, **options: Any) -> nn.Module:
        torch.manual_seed(0)
        network = NETWORKS[request.param](shape, **options)
        with torch.no_grad():
            for parameter in network.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.2)
        return network

    return build
