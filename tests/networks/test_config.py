"""Configurations of networks: what they build, and that they refuse what they cannot be told in one sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest
from torch import nn

from unstir.config import Part, checked
from unstir.errors import InputError
from unstir.networks.config import (
    AnyNetwork,
    FullyConnectedConfig,
    NetworkConfig,
    PlainUNetConfig,
    RefineNetConfig,
    UNetConfig,
    networks,
)
from unstir.networks.told import Told


class Holder(Part):
    network: AnyNetwork = UNetConfig()


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_no_torch_is_needed_to_read_a_configuration() -> None:
    program = "import sys, unstir.networks.config; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_kinds_are_known_by_name() -> None:
    kinds = {"unet": UNetConfig, "plain": PlainUNetConfig, "refinenet": RefineNetConfig}
    assert networks.known == {**kinds, "fully_connected": FullyConnectedConfig}
    for kind, config in networks.known.items():
        assert checked(Holder, {"network": kind}).network == config()
        assert Holder.model_validate(Holder(network=config()).model_dump()).network == config()
    with pytest.raises(InputError, match="no network is called 'unett'; did you mean 'unet'"):
        checked(Holder, {"network": {"kind": "unett"}})
    values = Holder(network=RefineNetConfig(blocks=3)).model_dump()
    assert values == {"network": {"kind": "refinenet", "channels": (128, 256, 256, 256), "blocks": 3, "patch": 1}}


COUNTS = {"unet": 65_061_057, "plain": 62_437_601, "refinenet": 46_237_185, "fully_connected": 8_544_529}


@pytest.mark.parametrize("kind", COUNTS)
def test_how_many_parameters_the_usual_networks_have(kind: str) -> None:
    assert parameters(networks[kind]().build((1, 28, 28))) == COUNTS[kind]


def test_how_many_parameters_the_network_of_ddpm_has() -> None:
    """On CIFAR-10 the paper's has 35,746,307: its blocks are told a shift by the time, ours a scale too."""
    config = UNetConfig(channels=(128, 256, 256, 256), attention=("none", "full", "none", "none"))
    assert parameters(config.build((3, 32, 32))) == 38_307_203


def test_the_fully_connected_networks_parameters_by_hand() -> None:
    config = FullyConnectedConfig(widths=(20, 10), norm=False)
    down, up = (12 + 32 + 1 + 1) * 20 + (20 + 1) * 10, (10 + 1) * 20
    assert parameters(config.build((3, 2, 2))) == down + up + (20 + 1) * (12 + 1)
    more = parameters(config.build((3, 2, 2), outputs=2, image=5))
    assert more == down + up + 5 * 4 * 20 + (20 + 1) * 2 * (12 + 1)


@pytest.mark.parametrize("config", [UNetConfig(patch=2), RefineNetConfig(patch=2), PlainUNetConfig()])
def test_more_channels_of_the_input_cost_kernels_of_the_stem_alone(config: NetworkConfig) -> None:
    tiny = config.tiny()
    patch = 1 if isinstance(config, PlainUNetConfig) else 2
    more = parameters(tiny.build((3, 8, 8), image=5)) - parameters(tiny.build((3, 8, 8)))
    assert more == 5 * patch**2 * 9 * tiny.channels[0]


def test_tokens_cost_a_cross_attention_where_levels_attend_and_in_the_middle() -> None:
    config = UNetConfig(channels=(8, 16, 32), blocks=2, attention=("none", "linear", "full"))
    more = parameters(config.build((1, 8, 8), tokens=True)) - parameters(config.build((1, 8, 8)))

    def one(channels: int) -> int:
        return 2 * channels + (channels + 1) * channels + (4 * 8 + 1) * 2 * channels + (channels + 1) * channels

    assert more == (2 + 3) * one(16) + (2 + 3 + 1) * one(32)


@pytest.mark.parametrize(
    ("config", "tiny"),
    [
        (UNetConfig(channels=(64, 512), attention=("none", "full")), {"channels": (8, 32), "blocks": 1}),
        (PlainUNetConfig(), {"channels": (8, 8, 16, 32, 64)}),
        (RefineNetConfig(), {"channels": (8, 16, 16, 16), "blocks": 1}),
        (FullyConnectedConfig(widths=(2048, 100)), {"widths": (128, 8)}),
    ],
)
def test_tiny_is_narrow_and_nothing_else(config: NetworkConfig, tiny: dict[str, object]) -> None:
    assert config.tiny() == type(config).model_validate({**config.model_dump(), **tiny})


def test_what_a_network_can_be_told() -> None:
    label = Told(kind="classes", classes=("a", "b"))
    caption = Told(kind="embedding", width=4, socket="tokens")
    picture = Told(kind="picture", width=3)
    for config in networks.known.values():
        config().check({"label": label, "picture": picture})
        if config is not UNetConfig:
            with pytest.raises(ValueError) as caught:
                config().check({"label": label, "caption": caption})
            assert str(caught.value) == (
                f"caption enters the socket tokens, which the network {config().kind} has not: "
                "set its socket to vector or image, or network.kind=unet"
            )
    UNetConfig().check({"caption": caption})


def test_only_fully_connected_networks_are_of_one_size() -> None:
    assert [kind for kind, config in networks.known.items() if not config.any_size] == ["fully_connected"]


def test_what_is_told_fits_together() -> None:
    with pytest.raises(InputError, match="a picture cannot enter the socket tokens, only image"):
        checked(Told, {"kind": "picture", "socket": "tokens"})
    with pytest.raises(InputError, match="std has 1 values for 2 numbers"):
        checked(Told, {"kind": "numbers", "width": 2, "mean": (0.0, 1.0), "std": (1.0,)})
    with pytest.raises(InputError, match="std"):
        checked(Told, {"kind": "numbers", "width": 1, "std": (0.0,)})
    with pytest.raises(InputError, match="dropout"):
        checked(Told, {"kind": "numbers", "dropout": 1.5})
