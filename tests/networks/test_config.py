"""Configurations of networks: what they build, and that they refuse what they cannot be told in one sentence."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from unstir.config import Part, checked
from unstir.errors import InputError
from unstir.networks.conditioner import Conditioner
from unstir.networks.config import (
    ADMConfig,
    ADMReaderConfig,
    AnyNetwork,
    FullyConnectedConfig,
    NetworkConfig,
    PlainUNetConfig,
    RefineNetConfig,
    TransformerConfig,
    UNetConfig,
    adm_preset,
    networks,
)
from unstir.networks.skip_mlp_config import SkipMLPConfig
from unstir.networks.told import Told


class Holder(Part):
    network: AnyNetwork = UNetConfig()


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_no_torch_is_needed_to_read_a_configuration() -> None:
    program = "import sys, unstir.networks.config; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_kinds_are_known_by_name() -> None:
    kinds = {"unet": UNetConfig, "adm": ADMConfig, "plain": PlainUNetConfig, "refinenet": RefineNetConfig}
    kinds |= {"transformer": TransformerConfig, "fully_connected": FullyConnectedConfig, "mlp": SkipMLPConfig}
    assert networks.known == kinds
    for kind, config in networks.known.items():
        assert checked(Holder, {"network": kind}).network == config()
        assert Holder.model_validate(Holder(network=config()).model_dump()).network == config()
    with pytest.raises(InputError, match="no network is called 'unett'; did you mean 'unet'"):
        checked(Holder, {"network": {"kind": "unett"}})
    values = Holder(network=RefineNetConfig(blocks=3)).model_dump()
    assert values == {"network": {"kind": "refinenet", "channels": (128, 256, 256, 256), "blocks": 3, "patch": 1}}


def linear(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


def kernel(inputs: int, outputs: int, side: int = 3) -> int:
    return (inputs * side**2 + 1) * outputs


def of_time(width: int) -> int:
    """Of the time's embedding."""
    return linear(max(32, width // 4), width) + linear(width, width)


def of_unet(image: int, channels: Sequence[int], blocks: int, attends: Sequence[bool], patch: int = 1) -> int:
    """Level by level, by what each layer takes and gives."""
    width = 4 * channels[0]

    def block(inputs: int, outputs: int) -> int:
        shortcut = kernel(inputs, outputs, 1) if inputs != outputs else 0
        return (
            2 * inputs + kernel(inputs, outputs) + linear(width, 2 * outputs)
            + 2 * outputs + kernel(outputs, outputs) + shortcut
        )  # fmt: skip

    def attention(c: int) -> int:
        return 2 * c + linear(c, 3 * c) + linear(c, c)

    total = of_time(width) + kernel(image * patch**2, channels[0])
    left, here = [channels[0]], channels[0]
    for level, c in enumerate(channels):
        if level:
            total, left = total + kernel(here, here), [*left, here]
        for _ in range(blocks):
            total, here, left = total + block(here, c) + attends[level] * attention(c), c, [*left, c]
    total += 2 * block(here, here) + attention(here)
    for level in reversed(range(len(channels))):
        for _ in range(blocks + 1):
            total += block(here + left.pop(), channels[level]) + attends[level] * attention(channels[level])
            here = channels[level]
        total += kernel(here, here) if level else 0
    assert not left
    return total + 2 * here + kernel(here, image * patch**2)


def of_plain(image: int, channels: Sequence[int], width: int) -> int:
    """The tutorials' U-Net, whose blocks hold two convolutions, two norms, the time, and a resizing one of 4x4."""

    def block(inputs: int, outputs: int) -> int:
        both = kernel(inputs, outputs) + kernel(outputs, outputs)
        return both + 4 * outputs + linear(width, outputs) + kernel(outputs, outputs, 4)

    pairs = list(itertools.pairwise(channels))
    total = linear(width, width) + kernel(image, channels[0]) + kernel(channels[0], image, 1)
    return total + sum(block(a, b) + block(2 * b, a) for a, b in pairs)


def of_refinenet(image: int, channels: Sequence[int], blocks: int, patch: int = 1) -> int:
    width = 2 * channels[0]

    def norm(c: int) -> int:
        return linear(width, 3 * c)

    def unit(inputs: int, outputs: int) -> int:
        shortcut = kernel(inputs, outputs, 1) if inputs != outputs else 0
        return norm(inputs) + kernel(inputs, outputs) + norm(outputs) + kernel(outputs, outputs) + shortcut

    total, here = of_time(width) + kernel(image * patch**2, channels[0]), channels[0]
    for c in channels:
        total, here = total + unit(here, c) + (blocks - 1) * unit(c, c), c
    below: list[int] = []
    for level in reversed(range(len(channels))):
        c = channels[level]
        for path in (c, *below):
            total += blocks * unit(path, path) + norm(path) + kernel(path, c)
        total += 2 * (norm(c) + kernel(c, c)) + (3 if level == 0 else 1) * unit(c, c)
        below = [c]
    return total + norm(channels[0]) + kernel(channels[0], image * patch**2)


def of_fully_connected(pixels: int, widths: Sequence[int], norm: bool = True) -> int:
    sizes = [pixels + 32 + 1, *widths, *widths[-2::-1]]
    layers = sum(linear(a, b) + 2 * norm * b for a, b in itertools.pairwise(sizes))
    return layers + linear(widths[0], pixels) + linear(widths[0], 1)


COUNTS = {
    "unet": (of_unet(1, (64, 128, 256, 512), 2, (True,) * 4), 65_061_057),
    "plain": (of_plain(1, (64, 128, 256, 512, 1024), 32), 62_437_601),
    "refinenet": (of_refinenet(1, (128, 256, 256, 256), 2), 46_237_185),
    "fully_connected": (of_fully_connected(28 * 28, (2048, 1024, 512)), 8_544_529),
}


@pytest.mark.parametrize("kind", COUNTS)
def test_how_many_parameters_the_usual_networks_have(kind: str) -> None:
    by_hand, documented = COUNTS[kind]
    with torch.device("meta"):
        assert parameters(networks[kind]().build((1, 28, 28))) == by_hand == documented


def test_how_many_parameters_other_layouts_have() -> None:
    with torch.device("meta"):
        layout = UNetConfig(channels=(32, 64, 48), blocks=1, attention=("none", "full", "linear"), patch=2)
        assert parameters(layout.build((3, 9, 9))) == of_unet(3, (32, 64, 48), 1, (False, True, True), 2)
        assert parameters(PlainUNetConfig(channels=(8, 24), embedding=6).build((3, 9, 9))) == of_plain(
            3, (8, 24), 6
        )
        for channels, blocks, patch in (((8, 8), 1, 2), ((16, 24, 32), 3, 1), ((8,), 2, 1)):
            layout = RefineNetConfig(channels=channels, blocks=blocks, patch=patch)
            assert parameters(layout.build((2, 9, 9))) == of_refinenet(2, channels, blocks, patch)
        for widths, norm in (((30, 20, 10), True), ((16,), False)):
            layout = FullyConnectedConfig(widths=widths, norm=norm)
            assert parameters(layout.build((2, 3, 4))) == of_fully_connected(24, widths, norm)


def test_how_many_parameters_the_network_of_ddpm_has() -> None:
    """On CIFAR-10 the paper's has 35,746,307: its blocks are told a shift by the time, ours a scale too."""
    channels = (128, 256, 256, 256)
    config = UNetConfig(channels=channels, attention=("none", "full", "none", "none"))
    with torch.device("meta"):
        found = parameters(config.build((3, 32, 32)))
    assert found == of_unet(3, channels, 2, (False, True, False, False)) == 38_307_203
    channels_out = 2 * 128 + 6 * 256 + 2 * 256 + 9 * 256 + 3 * 128  # of all blocks: down, in the middle, up
    assert found - channels_out * (4 * 128 + 1) == 35_746_307


@pytest.mark.parametrize(
    ("size", "published"), [(64, 295_904_454), (128, 421_529_606), (256, 553_838_086), (512, 558_997_638)]
)
def test_the_networks_of_adm_are_as_large_as_the_published_ones(size: int, published: int) -> None:
    """Told one of 1,000 classes, with learned variance.

    Our table of the classes has one row more, the null of guidance; theirs has none.
    """
    config = adm_preset(size)  # type: ignore[arg-type]
    told = {"label": Told(kind="classes", classes=tuple(str(i) for i in range(1000)))}
    with torch.device("meta"):
        found = parameters(config.build((3, size, size), outputs=2))
        found += parameters(Conditioner(told, config.vector, config.tokens))
    null = config.vector
    assert found - null == published


def test_levels_and_heads_fit_together() -> None:
    for wrong, message in (
        ({"attention": (True,)}, "attention names 1 levels and multipliers 4"),
        ({"heads": 3}, "64 channels cannot be divided among 3 heads"),
        ({"multipliers": (1, 0, 1, 1)}, "greater than 0"),
        ({"kind": "transformer", "heads": 5}, "a width of 384 cannot be divided among 5 heads"),
    ):
        with pytest.raises(InputError, match=message):
            checked(Holder, {"network": {"kind": "adm", **wrong}})


def test_the_parameters_of_the_transformer_by_hand() -> None:
    """The one that Peebles and Xie call S/2, with 33M: theirs has a wider time, a table of 1,001 and positions."""
    width, block = 384, linear(384, 6 * 384) + linear(384, 3 * 384) + linear(384, 384)
    block += linear(384, 4 * 384) + linear(4 * 384, 384)
    ends = of_time(width) + kernel(4 * 4, width, 1) + linear(width, 2 * width) + kernel(width, 2 * 4 * 4, 1)
    with torch.device("meta"):
        found = parameters(TransformerConfig().build((4, 32, 32), outputs=2))
        more = parameters(TransformerConfig().build((4, 32, 32), outputs=2, image=3, tokens=True)) - found
    assert found == 12 * block + ends == 32_419_232
    assert found + (256 - 96 + 1001 + 16**2) * width == 32_963_360
    cross = 2 * width + 2 * linear(width, width) + linear(width, 2 * width)
    assert more == 12 * cross + 3 * 4 * width


def test_the_half_of_adm_that_reads_has_the_parameters_of_the_way_down() -> None:
    """What it has besides: a norm, positions of one and 4x3, and three matrices of the pooling."""
    layout = {"channels": 16, "multipliers": (1, 2, 2), "attention": (False, True, False), "head": 16}
    reader = ADMReaderConfig.model_validate({**layout, "features": 5}).build((3, 13, 10))
    whole = ADMConfig.model_validate(layout).build((3, 13, 10))
    half = parameters(whole.embedding) + parameters(whole.descent)  # type: ignore[arg-type]
    pooled = (1 + 4 * 3) * 32 + linear(32, 32) + linear(32, 64) + linear(32, 5)
    assert parameters(reader) == half + 2 * 32 + pooled


def test_the_fully_connected_networks_parameters_by_hand() -> None:
    config = FullyConnectedConfig(widths=(20, 10), norm=False)
    down, up = (12 + 32 + 1 + 1) * 20 + (20 + 1) * 10, (10 + 1) * 20
    assert parameters(config.build((3, 2, 2))) == down + up + (20 + 1) * (12 + 1)
    more = parameters(config.build((3, 2, 2), outputs=2, image=5))
    assert more == down + up + 5 * 4 * 20 + (20 + 1) * 2 * (12 + 1)


def test_the_mlps_parameters_by_hand() -> None:
    config = SkipMLPConfig(width=40, depth=3)
    embedding = linear(32, 40) + linear(40, 40)
    layers = linear(7, 40) + 2 * linear(47, 40) + 3 * (2 * 40 + linear(40, 80))
    assert parameters(config.build((7, 1, 1))) == embedding + layers + linear(47, 7)
    assert parameters(config.build((7, 1, 1), outputs=2)) == embedding + layers + linear(47, 14)


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
        (ADMConfig(channels=512, heads=4), {"channels": 16, "blocks": 1}),
        (TransformerConfig(width=768, heads=12, patch=4), {"width": 24, "depth": 2, "heads": 2}),
        (PlainUNetConfig(), {"channels": (8, 8, 16, 32, 64)}),
        (RefineNetConfig(), {"channels": (8, 16, 16, 16), "blocks": 1}),
        (FullyConnectedConfig(widths=(2048, 100)), {"widths": (128, 8)}),
        (SkipMLPConfig(width=512, depth=6), {"width": 32, "depth": 2}),
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
        if "tokens" not in config.sockets:
            with pytest.raises(ValueError) as caught:
                config().check({"label": label, "caption": caption})
            assert str(caught.value) == (
                f"caption enters the socket tokens, which the network {config().kind} has not: "
                "set its socket to vector or image, or network.kind=unet"
            )
        else:
            config().check({"caption": caption})


def test_only_fully_connected_networks_are_of_one_size() -> None:
    of_one = [kind for kind, config in networks.known.items() if not config.any_size]
    assert of_one == ["fully_connected", "mlp"]


def test_what_is_told_fits_together() -> None:
    with pytest.raises(InputError, match="a picture cannot enter the socket tokens, only image"):
        checked(Told, {"kind": "picture", "socket": "tokens"})
    with pytest.raises(InputError, match="std has 1 values for 2 numbers"):
        checked(Told, {"kind": "numbers", "width": 2, "mean": (0.0, 1.0), "std": (1.0,)})
    with pytest.raises(InputError, match="std"):
        checked(Told, {"kind": "numbers", "width": 1, "std": (0.0,)})
    with pytest.raises(InputError, match="dropout"):
        checked(Told, {"kind": "numbers", "dropout": 1.5})
