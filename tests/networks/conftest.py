from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from unstir.diffusion import Condition
from unstir.networks.conditioner import Conditioner
from unstir.networks.config import (
    ADMConfig,
    FullyConnectedConfig,
    NetworkConfig,
    PlainUNetConfig,
    RefineNetConfig,
    TransformerConfig,
    UNetConfig,
)
from unstir.networks.skip_mlp_config import SkipMLPConfig
from unstir.networks.told import Told

NETWORKS: dict[str, NetworkConfig] = {
    "unet": UNetConfig(channels=(8, 16), blocks=1, attention=("linear", "full")),
    "unet-no-attention": UNetConfig(channels=(8, 16, 16), blocks=1, attention=("none",) * 3),
    "unet-patch2-layer": UNetConfig(
        channels=(8, 16), blocks=2, attention=("none", "linear"), patch=2, norm="layer"
    ),
    "unet-patch3": UNetConfig(channels=(16, 8), blocks=1, attention=("full", "none"), patch=3),
    "adm": ADMConfig(channels=8, multipliers=(1, 2), blocks=1, attention=(False, True), head=8),
    "adm-heads": ADMConfig(
        channels=12, multipliers=(0.5, 1, 1), blocks=1, attention=(True,) * 3, heads=2, rescale=True
    ),
    "transformer": TransformerConfig(width=24, depth=2, heads=2),
    "transformer-patch1": TransformerConfig(width=16, depth=1, heads=4, patch=1, dropout=0.1),
    "plain": PlainUNetConfig(channels=(8, 16, 16), embedding=8),
    "refinenet": RefineNetConfig(channels=(8, 12, 12), blocks=2),
    "refinenet-patch2": RefineNetConfig(channels=(8, 8), blocks=1, patch=2),
    "fully_connected": FullyConnectedConfig(widths=(24, 16, 8)),
    "fully_connected-no-norm": FullyConnectedConfig(widths=(24,), norm=False),
    "mlp": SkipMLPConfig(width=40, depth=3),
}


class Network(nn.Module):
    """A network with its conditioner, called with a condition. Its answers vary: no test compares zeros."""

    def __init__(self, network: nn.Module, conditioner: Conditioner) -> None:
        super().__init__()
        self.network, self.conditioner = network, conditioner

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        y = self.network(x, t, self.conditioner(condition, x))
        assert (y.detach().flatten(1).std(1) > 0.01).all()
        return y


def awake(network: nn.Module) -> nn.Module:
    """Return the network with its zero parameters made random, so that all take part."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return network


@pytest.fixture(params=NETWORKS)
def config(request: pytest.FixtureRequest) -> NetworkConfig:
    return NETWORKS[request.param]


@pytest.fixture
def make(config: NetworkConfig) -> Callable[..., nn.Module]:
    """Return a maker of one kind of network."""

    def build(shape: tuple[int, int, int], told: Mapping[str, Told] | None = None, outputs: int = 1) -> nn.Module:
        torch.manual_seed(0)
        conditioner = Conditioner(told or {}, config.vector, config.tokens)
        tokens = any(part.enters == "tokens" for part in (told or {}).values())
        return awake(Network(config.build(shape, outputs, conditioner.image_channels, tokens), conditioner))

    return build
