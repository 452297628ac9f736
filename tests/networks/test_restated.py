"""Each network stated a second time, from its papers and the shapes of its weights, by PyTorch's plain functions.

Nothing is shared with the networks but the names of their weights. The restatement computes in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.diffusion import Sockets
from unstir.models.systems import ClassifierConfig
from unstir.networks.config import ADMConfig, ADMReaderConfig, TransformerConfig
from unstir.networks.convolutional import Discriminator, Encoder, Generator, Reader
from unstir.networks.fully_connected import FullyConnectedUNet
from unstir.networks.plain_unet import PlainUNet
from unstir.networks.refinenet import RefineNet
from unstir.networks.skip_mlp import SkipMLP
from unstir.networks.unet import UNet


class W:
    """Weights under a prefix."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str = "") -> None:
        self.state, self.prefix = state, prefix

    def __truediv__(self, name: object) -> W:
        return W(self.state, f"{self.prefix}{name}.")

    def __contains__(self, name: str) -> bool:
        return any(key.startswith(f"{self.prefix}{name}.") for key in self.state)

    def __getitem__(self, name: str) -> Tensor:
        return self.state[self.prefix + name]

    def linear(self, x: Tensor) -> Tensor:
        return x @ self["weight"].T + self["bias"]

    def conv(self, x: Tensor, **how: int) -> Tensor:
        padding = how.pop("padding", self["weight"].shape[-1] // 2)
        return F.conv2d(x, self["weight"], self["bias"], padding=padding, **how)


def awake(network: nn.Module) -> nn.Module:
    """Return the network with all its weights and statistics random, so that each takes part."""
    torch.manual_seed(3)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.normal_(std=value[0].numel() ** -0.5 if value.dim() > 1 else 0.5)
        if name.endswith("running_var"):
            value.abs_().add_(0.3)
    return network


def stated(network: nn.Module) -> W:
    return W({name: value.double() for name, value in network.state_dict().items() if value.is_floating_point()})


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def same(found: Tensor, expected: Tensor) -> None:
    scale = float(expected.abs().max())
    assert float(expected.std()) > 0.05 * scale
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-4 * scale)


# Parts


def sinusoids(t: Tensor, width: int) -> Tensor:
    columns = []
    for function in (torch.sin, torch.cos):
        columns += [function(1000 * t.double() / 10_000 ** (i / (width // 2))) for i in range(width // 2)]
    return torch.stack(columns, dim=1)


def embedded(w: W, t: Tensor, vector: Tensor | None) -> Tensor:
    width = (w / "mlp" / 2)["bias"].numel()
    hidden = (w / "mlp" / 0).linear(sinusoids(t, max(32, 2 * (width // 8))))
    embedding = (w / "mlp" / 2).linear(F.silu(hidden))
    return embedding if vector is None else embedding + vector


def normed(w: W, x: Tensor, kind: str) -> Tensor:
    channels = x.shape[1]
    if kind == "layer":
        centred = x - x.mean(1, keepdim=True)
        h = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    else:
        groups = max(g for g in range(1, 33) if channels % g == 0 and g <= max(1, channels // 4))
        parts = x.unflatten(1, (groups, -1))
        centred = parts - parts.mean((2, 3, 4), keepdim=True)
        h = (centred / (centred.square().mean((2, 3, 4), keepdim=True) + 1e-5).sqrt()).flatten(1, 2)
    return h * w["weight"][:, None, None] + w["bias"][:, None, None]


def residual(
    w: W, x: Tensor, embedding: Tensor, kind: str, resized: Callable[[Tensor], Tensor] = lambda x: x
) -> Tensor:
    h = (w / "first").conv(resized(F.silu(normed(w / "first_norm", x, kind))))
    x = resized(x)
    scale, shift = (w / "modulation").linear(F.silu(embedding))[..., None, None].chunk(2, dim=1)
    h = (w / "second").conv(F.silu(normed(w / "second_norm", h, kind) * (1 + scale) + shift))
    return h + ((w / "shortcut").conv(x) if "shortcut" in w else x)


def heads_of(channels: int) -> int:
    return max(h for h in range(1, max(1, channels // 64) + 1) if channels % h == 0)


def attended(
    w: W, x: Tensor, how: str, kind: str, tokens: Tensor | None = None, heads: int | None = None
) -> Tensor:
    channels, heads = x.shape[1], heads or heads_of(x.shape[1])
    pixels = normed(w / "norm", x, kind).flatten(2).mT
    if tokens is None:
        q, k, v = (w / "qkv").linear(pixels).chunk(3, dim=-1)
    else:
        q, (k, v) = (w / "q").linear(pixels), (w / "kv").linear(tokens).chunk(2, dim=-1)
    mixed = []
    for of_q, of_k, of_v in zip(*(part.chunk(heads, dim=-1) for part in (q, k, v)), strict=True):
        if how == "linear":
            mixed.append(torch.einsum("bnd,bmd,bme->bne", of_q.softmax(-1), of_k.softmax(1), of_v))
        else:
            mixed.append((of_q @ of_k.mT / math.sqrt(channels // heads)).softmax(-1) @ of_v)
    return x + (w / "out").linear(torch.cat(mixed, dim=-1)).mT.reshape(x.shape)


def padded(x: Tensor, stride: int) -> Tensor:
    height, width = x.shape[2:]
    rows = torch.arange(-(-height // stride) * stride).clamp(max=height - 1)
    columns = torch.arange(-(-width // stride) * stride).clamp(max=width - 1)
    return x[:, :, rows][..., columns]


def in_patches(x: Tensor, side: int) -> Tensor:
    b, c, h, w = x.shape
    return (
        x.reshape(b, c, h // side, side, w // side, side)
        .permute(0, 1, 3, 5, 2, 4)
        .reshape(b, c * side**2, h // side, w // side)
    )


def out_of_patches(x: Tensor, side: int) -> Tensor:
    b, c, h, w = x.shape
    return (
        x.reshape(b, c // side**2, side, side, h, w)
        .permute(0, 1, 4, 2, 5, 3)
        .reshape(b, c // side**2, h * side, w * side)
    )


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


# The attention U-Net


def unet(
    w: W,
    x: Tensor,
    t: Tensor,
    sockets: Sockets,
    channels: Sequence[int],
    blocks: int,
    attention: Sequence[str],
    patch: int,
    kind: str,
) -> Tensor:
    tokens = None if sockets.tokens is None else sockets.tokens.double()
    embedding = embedded(w / "embedding", t, None if sockets.vector is None else sockets.vector.double())
    joined = x.double() if sockets.image is None else torch.cat([x, sockets.image], dim=1).double()
    h = (w / "stem").conv(in_patches(padded(joined, patch * 2 ** (len(channels) - 1)), patch))

    def stage(w: W, h: Tensor, how: str) -> Tensor:
        h = residual(w / "block", h, embedding, kind)
        if how != "none":
            h = attended(w / "attention", h, how, kind)
            h = h if tokens is None else attended(w / "cross", h, "full", kind, tokens)
        return h

    skips, place = [h], 0
    for level, how in enumerate(attention):
        if level:
            h = (w / "down" / place / "convolution").conv(h, stride=2)
            skips.append(h)
            place += 1
        for _ in range(blocks):
            h = stage(w / "down" / place, h, how)
            skips.append(h)
            place += 1
    h = stage(w / "middle" / 1, stage(w / "middle" / 0, h, "full"), "none")
    place = 0
    for level in range(len(channels) - 1, -1, -1):
        for _ in range(blocks + 1):
            h = stage(w / "up" / place, torch.cat([h, skips.pop()], dim=1), attention[level])
            place += 1
        if level:
            h = (w / "up" / place / "convolution").conv(doubled(h))
            place += 1
    h = (w / "out").conv(F.silu(normed(w / "out_norm", h, kind)))
    return out_of_patches(h, patch)[..., : x.shape[2], : x.shape[3]]


UNETS = {
    # The layouts of DDPM for CIFAR-10 and of ADM, narrow; and what the recipes have.
    "ddpm": ((32, 64, 64, 64), 2, ("none", "full", "none", "none"), 1, "group"),
    "adm": ((32, 64, 96), 1, ("none", "full", "full"), 1, "group"),
    "two heads": ((64, 130), 1, ("full", "full"), 1, "group"),
    "linear": ((16, 24), 1, ("linear", "linear"), 1, "group"),
    "patches": ((16, 128), 1, ("linear", "full"), 2, "layer"),
}


@pytest.mark.parametrize("told", ["nothing", "vector", "image", "tokens", "all"])
@pytest.mark.parametrize("name", UNETS)
def test_the_attention_unet(name: str, told: str) -> None:
    channels, blocks, attention, patch, kind = UNETS[name]
    shape = (2, 3, 13, 10)
    wants = {each: told in (each, "all") for each in ("vector", "image", "tokens")}
    network = UNet(
        3,
        channels,
        blocks,
        attention,
        patch,
        kind=kind,  # type: ignore[arg-type]
        outputs=2,
        image=2 if wants["image"] else 0,
        tokens=5 if wants["tokens"] else 0,
    )
    sockets = Sockets(
        vector=normal(2, 4 * channels[0], seed=1) if wants["vector"] else None,
        image=normal(2, 2, 13, 10, seed=2) if wants["image"] else None,
        tokens=normal(2, 4, 5, seed=3) if wants["tokens"] else None,
    )
    awake(network).eval()
    x, t = normal(*shape), torch.tensor([0.013, 0.87])
    with torch.no_grad():
        found = network(x, t, sockets)
    same(found, unet(stated(network), x, t, sockets, channels, blocks, attention, patch, kind))


# The ADM U-Net, and its half that reads


class Restated:
    """Both, by the layout's numbers; ``heads`` of each level's channels are given by hand."""

    def __init__(self, config: ADMConfig | ADMReaderConfig, heads: Mapping[int, int], w: W) -> None:
        self.config, self.heads, self.w = config, heads, w
        self.scale = 1 / math.sqrt(2) if config.rescale else 1.0

    def stage(self, w: W, h: Tensor, attends: bool) -> Tensor:
        h = residual(w / "parts" / 0, h, self.e, "group") * self.scale
        if attends:
            heads = self.heads[h.shape[1]]
            h = attended(w / "parts" / 1, h, "full", "group", heads=heads) * self.scale
            if self.tokens is not None:
                h = attended(w / "parts" / 2, h, "full", "group", self.tokens, heads) * self.scale
        return h

    def resized(self, w: W, h: Tensor, how: Callable[[Tensor], Tensor]) -> Tensor:
        return residual(w / "parts" / 0, h, self.e, "group", how) * self.scale

    def down(self, x: Tensor, t: Tensor, sockets: Sockets) -> tuple[Tensor, list[Tensor]]:
        vector, image, tokens = (
            None if part is None else part.double() for part in (sockets.vector, sockets.image, sockets.tokens)
        )
        self.e, self.tokens, w = embedded(self.w / "embedding", t, vector), tokens, self.w / "descent"
        joined = x.double() if image is None else torch.cat([x.double(), image], dim=1)
        h = (w / "stem").conv(padded(joined, 2 ** (len(self.config.attention) - 1)))
        left, place = [h], 0
        for level, attends in enumerate(self.config.attention):
            if level:
                h = self.resized(w / "down" / place, h, halved)
                left, place = [*left, h], place + 1
            for _ in range(self.config.blocks):
                h = self.stage(w / "down" / place, h, attends)
                left, place = [*left, h], place + 1
        return self.stage(w / "middle" / 1, self.stage(w / "middle" / 0, h, True), False), left

    def whole(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
        (h, left), place = self.down(x, t, sockets), 0
        for level in range(len(self.config.attention) - 1, -1, -1):
            for _ in range(self.config.blocks + 1):
                attends = self.config.attention[level]
                h = self.stage(self.w / "up" / place, torch.cat([h, left.pop()], dim=1), attends)
                place += 1
            if level:
                h = self.resized(self.w / "up" / place, h, doubled)
                place += 1
        assert not left
        h = (self.w / "out").conv(F.silu(normed(self.w / "out_norm", h, "group")))
        return h[..., : x.shape[2], : x.shape[3]]

    def read(self, x: Tensor, t: Tensor) -> Tensor:
        h, _ = self.down(x, t, Sockets())
        h = F.silu(normed(self.w / "out_norm", h, "group"))
        w = self.w / "pool"
        places = torch.stack([h.mean((2, 3)), *h.flatten(2).unbind(2)], dim=1) + w["positions"]
        q, (k, v) = (w / "q").linear(places[:, 0]), (w / "kv").linear(places).chunk(2, dim=-1)
        heads = self.heads[h.shape[1]]
        pooled = []
        for of_q, of_k, of_v in zip(*(part.chunk(heads, dim=-1) for part in (q, k, v)), strict=True):
            weights = (torch.einsum("bd,bnd->bn", of_q, of_k) / math.sqrt(of_q.shape[1])).softmax(1)
            pooled.append(torch.einsum("bn,bnd->bd", weights, of_v))
        return (w / "out").linear(torch.cat(pooled, dim=1))


ADMS = {
    # By channels of a head, by their count, rescaled, and with a finest level of half the width, as at 512 pixels.
    "head": ({"multipliers": (1, 2), "attention": (False, True), "head": 16, "blocks": 2}, {64: 4}),
    "heads": ({"multipliers": (1, 1, 1.5), "attention": (True, False, True), "heads": 4}, {32: 4, 48: 4}),
    "rescaled": ({"multipliers": (1, 1), "attention": (True, True), "head": 32, "rescale": True}, {32: 1}),
    "half": ({"multipliers": (0.5, 1), "attention": (False, False), "head": 8}, {32: 4}),
}


@pytest.mark.parametrize("told", ["nothing", "vector", "image", "tokens", "all"])
@pytest.mark.parametrize("name", ADMS)
def test_the_adm_unet(name: str, told: str) -> None:
    values, heads = ADMS[name]
    config = ADMConfig.model_validate({"channels": 32, "blocks": 1, **values})
    wants = {each: told in (each, "all") for each in ("vector", "image", "tokens")}
    network = config.build((3, 13, 10), 2, 2 * wants["image"], wants["tokens"])
    sockets = Sockets(
        vector=normal(2, 128, seed=1) if wants["vector"] else None,
        image=normal(2, 2, 13, 10, seed=2) if wants["image"] else None,
        tokens=normal(2, 4, 128, seed=3) if wants["tokens"] else None,
    )
    awake(network).eval()
    x, t = normal(2, 3, 13, 10), torch.tensor([0.013, 0.87])
    with torch.no_grad():
        same(network(x, t, sockets), Restated(config, heads, stated(network)).whole(x, t, sockets))


@pytest.mark.parametrize("name", ADMS)
def test_the_adm_reader(name: str) -> None:
    values, heads = ADMS[name]
    config = ADMReaderConfig.model_validate({"channels": 32, "blocks": 1, "features": 7, **values})
    network = awake(config.build((3, 13, 10))).eval()
    x, t = normal(4, 3, 13, 10), torch.tensor([0.013, 0.3, 0.6, 0.87])
    with torch.no_grad():
        same(network(x, t), Restated(config, heads, stated(network)).read(x, t))


# The transformer


def position_codes(channels: int, rows: int, columns: int) -> Tensor:
    """Half the channels are of the row, half of the column; of each half, sines, then cosines."""
    codes, quarter = torch.zeros(channels, rows, columns, dtype=torch.float64), channels // 4
    for row in range(rows):
        for column in range(columns):
            for i in range(quarter):
                frequency = 10_000 ** (-i / quarter)
                for start, place in ((0, row), (2 * quarter, column)):
                    codes[start + i, row, column] = math.sin(frequency * place)
                    codes[start + quarter + i, row, column] = math.cos(frequency * place)
    return codes


def transformer(w: W, x: Tensor, t: Tensor, sockets: Sockets, depth: int, heads: int, patch: int) -> Tensor:
    e = embedded(w / "embedding", t, None if sockets.vector is None else sockets.vector.double())
    joined = x.double() if sockets.image is None else torch.cat([x, sockets.image], dim=1).double()
    grid = in_patches(padded(joined, patch), patch)
    kernel = (w / "stem")["weight"][:, :, 0, 0]
    codes = position_codes(len(kernel), *grid.shape[2:])
    h = (torch.einsum("oi,bihw->bohw", kernel, grid) + (w / "stem")["bias"][:, None, None] + codes).flatten(2).mT

    def layer_normed(h: Tensor) -> Tensor:
        centred = h - h.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = zip(*(part.chunk(heads, dim=-1) for part in (q, k, v)), strict=True)
        return torch.cat([(a @ b.mT / math.sqrt(a.shape[-1])).softmax(-1) @ c for a, b, c in parts], dim=-1)

    for number in range(depth):
        b = w / "blocks" / number
        scale, shift, gate, scale2, shift2, gate2 = (b / "modulation").linear(F.silu(e))[:, None].chunk(6, dim=-1)
        q, k, v = (b / "qkv").linear(layer_normed(h) * (1 + scale) + shift).chunk(3, dim=-1)
        h = h + gate * (b / "mixed").linear(attention(q, k, v))
        if sockets.tokens is not None:
            c = b / "cross"
            q = (c / "q").linear(layer_normed(h) * (c / "norm")["weight"] + (c / "norm")["bias"])
            k, v = (c / "kv").linear(sockets.tokens.double()).chunk(2, dim=-1)
            h = h + (c / "out").linear(attention(q, k, v))
        inner = (b / "wide").linear(layer_normed(h) * (1 + scale2) + shift2)
        inner = inner * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
        h = h + gate2 * (b / "narrow").linear(inner)
    scale, shift = (w / "modulation").linear(F.silu(e))[:, None].chunk(2, dim=-1)
    h = (layer_normed(h) * (1 + scale) + shift) @ (w / "out")["weight"][:, :, 0, 0].T + (w / "out")["bias"]
    return out_of_patches(h.mT.unflatten(2, grid.shape[2:]), patch)[..., : x.shape[2], : x.shape[3]]


@pytest.mark.parametrize("told", ["nothing", "vector", "image", "tokens", "all"])
@pytest.mark.parametrize("layout", [(24, 2, 3, 2), (16, 1, 1, 1), (32, 3, 2, 4)], ids=str)
def test_the_transformer(layout: tuple[int, int, int, int], told: str) -> None:
    width, depth, heads, patch = layout
    wants = {each: told in (each, "all") for each in ("vector", "image", "tokens")}
    config = TransformerConfig(width=width, depth=depth, heads=heads, patch=patch)
    network = awake(config.build((3, 13, 10), 2, 2 * wants["image"], wants["tokens"])).eval()
    sockets = Sockets(
        vector=normal(2, width, seed=1) if wants["vector"] else None,
        image=normal(2, 2, 13, 10, seed=2) if wants["image"] else None,
        tokens=normal(2, 4, width, seed=3) if wants["tokens"] else None,
    )
    x, t = normal(2, 3, 13, 10), torch.tensor([0.013, 0.87])
    with torch.no_grad():
        same(network(x, t, sockets), transformer(stated(network), x, t, sockets, depth, heads, patch))


# The plain U-Net


def batch_normed(w: W, x: Tensor, training: bool) -> Tensor:
    mean, variance = (
        (x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)) if training else (w["running_mean"], w["running_var"])
    )
    h = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    return h * w["weight"][:, None, None] + w["bias"][:, None, None]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("told", [False, True])
def test_the_plain_unet(told: bool, training: bool) -> None:
    network = awake(PlainUNet(3, (8, 16, 12), embedding=10, outputs=2, image=2 * told)).train(training)
    x, t, w = normal(2, 3, 13, 10), torch.tensor([0.013, 0.87]), stated(network)
    sockets = Sockets(vector=normal(2, 10, seed=1), image=normal(2, 2, 13, 10, seed=2)) if told else Sockets()
    embedding = torch.relu((w / "time" / 0).linear(sinusoids(t, 10)))
    embedding = embedding + sockets.vector.double() if told else embedding

    def block(w: W, h: Tensor) -> Tensor:
        h = batch_normed(w / "first_norm", torch.relu((w / "first").conv(h)), training)
        h = h + torch.relu((w / "time").linear(embedding))[..., None, None]
        return batch_normed(w / "second_norm", torch.relu((w / "second").conv(h)), training)

    joined = torch.cat([x, sockets.image], dim=1) if told else x
    h, skips = (w / "stem").conv(padded(joined.double(), 4)), []
    for i in range(2):
        h = (w / "down" / i / "resize").conv(block(w / "down" / i, h), stride=2, padding=1)
        skips.append(h)
    for i in range(2):
        h = block(w / "up" / i, torch.cat([h, skips.pop()], dim=1))
        up = w / "up" / i / "resize"
        h = F.conv_transpose2d(h, up["weight"], up["bias"], stride=2, padding=1)
    with torch.no_grad():
        found = network(x, t, sockets)
    same(found, (w / "out").conv(h)[..., :13, :10])


# The RefineNet


def instance_normed(w: W, x: Tensor, embedding: Tensor) -> Tensor:
    gain, mean_gain, shift = (w / "modulation").linear(embedding)[..., None, None].chunk(3, dim=1)
    mean = x.mean((2, 3), keepdim=True)
    spread = (x - mean).square().mean((2, 3), keepdim=True)
    among, m = mean - mean.mean(1, keepdim=True), mean.mean(1, keepdim=True)
    v = (mean - m).square().mean(1, keepdim=True)
    return gain * (x - mean) / (spread + 1e-5).sqrt() + shift + mean_gain * among / (v + 1e-5).sqrt()


def refinenet(
    w: W, x: Tensor, t: Tensor, sockets: Sockets, channels: Sequence[int], blocks: int, patch: int
) -> Tensor:
    vector = None if sockets.vector is None else sockets.vector.double()
    e = F.silu(embedded(w / "embedding", t, vector))
    joined = x.double() if sockets.image is None else torch.cat([x, sockets.image], dim=1).double()
    h = (w / "stem").conv(in_patches(padded(joined, patch * (2 if len(channels) > 1 else 1)), patch))

    def unit(w: W, x: Tensor, dilation: int = 1, halve: bool = False) -> Tensor:
        h = x
        for each in ("first", "second"):
            h = F.elu(instance_normed(w / f"{each}_norm", h, e))
            h = (w / each).conv(h, dilation=dilation, padding=dilation)
        h = h + ((w / "shortcut").conv(x) if "shortcut" in w else x)
        return h.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)) if halve else h

    levels = []
    for level in range(len(channels)):
        dilation = 1 if level < 2 else 2 ** (level - 1)
        for block in range(blocks):
            h = unit(w / "levels" / level / block, h, dilation, halve=level == 1 and block == 0)
        levels.append(h)
    below: Tensor | None = None
    for number, level in enumerate(range(len(channels) - 1, -1, -1)):
        r, paths = w / "refined" / number, [levels[level], *([] if below is None else [below])]
        total = torch.zeros(())
        for i, path in enumerate(paths):
            for block in range(blocks):
                path = unit(r / "adapted" / i / "units" / block, path)
            path = (r / "join" / "convolutions" / i).conv(instance_normed(r / "join" / "norms" / i, path, e))
            size = levels[level].shape[-2:]
            total = total + (
                path
                if path.shape[-2:] == size
                else F.interpolate(path, size, mode="bilinear", align_corners=False)
            )
        h = link = F.elu(total)
        for i in range(2):
            link = instance_normed(r / "pool" / "norms" / i, link, e)
            link = (r / "pool" / "convolutions" / i).conv(F.avg_pool2d(link, 5, 1, 2))
            h = h + link
        for block in range(3 if level == 0 else 1):
            h = unit(r / "last" / "units" / block, h)
        below = h
    h = (w / "out").conv(F.elu(instance_normed(w / "out_norm", h, e)))
    return out_of_patches(h, patch)[..., : x.shape[2], : x.shape[3]]


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("layout", [((8, 12, 12, 16), 1, 1), ((8, 12), 2, 2), ((8,), 1, 1)], ids=str)
def test_the_refinenet(layout: tuple[tuple[int, ...], int, int], told: bool) -> None:
    channels, blocks, patch = layout
    network = awake(RefineNet(3, channels, blocks, patch, outputs=2, image=2 * told)).eval()
    sockets = Sockets(vector=normal(2, 16, seed=1), image=normal(2, 2, 13, 10, seed=2)) if told else Sockets()
    x, t = normal(2, 3, 13, 10), torch.tensor([0.013, 0.87])
    with torch.no_grad():
        found = network(x, t, sockets)
    same(found, refinenet(stated(network), x, t, sockets, channels, blocks, patch))


# The fully connected U-Net


@pytest.mark.parametrize("time", [True, False])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("told", [True, False])
def test_the_fully_connected_unet(told: bool, norm: bool, time: bool) -> None:
    network = awake(
        FullyConnectedUNet((2, 3, 4), (20, 14, 9), vector=3, time=time, norm=norm, outputs=2, image=told)
    )
    sockets = Sockets(vector=normal(5, 3, seed=1), image=normal(5, 1, 3, 4, seed=2)) if told else Sockets()
    x, t, w = normal(5, 2, 3, 4), torch.linspace(0.1, 0.9, 5), stated(network)

    def layer(w: W, h: Tensor) -> Tensor:
        h = (w / 0).linear(h)
        if norm:
            centred = h - h.mean(1, keepdim=True)
            h = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
            h = h * (w / 1)["weight"] + (w / 1)["bias"]
        return h * torch.sigmoid(h)

    parts = [x.flatten(1), *([sockets.image.flatten(1), sockets.vector] if told else [torch.zeros(5, 3)])]
    h = torch.cat([*parts, *([t[:, None]] if time else [])], dim=1).double()
    a = layer(w / "down" / 0, h)
    b = layer(w / "down" / 1, a)
    c = layer(w / "down" / 2, b)
    d = layer(w / "up" / 0, c) + b
    e = layer(w / "up" / 1, d) + a
    gates, images = (w / "gate").linear(e), (w / "out").linear(e).reshape(5, 2, 2, 3, 4)
    expected = torch.cat([gates[:, i, None, None, None] * x + images[:, i] for i in range(2)], dim=1)
    with torch.no_grad():
        same(network(x, t, sockets), expected)


@pytest.mark.parametrize("shape", [(9, 1, 1), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("told", [True, False])
def test_the_mlp_with_skips(told: bool, shape: tuple[int, int, int]) -> None:
    network = awake(SkipMLP(shape, width=24, depth=3, outputs=2, image=int(told)))
    x, t, w = normal(5, *shape), torch.linspace(0.1, 0.9, 5), stated(network)
    vector, image = normal(5, 24, seed=1), normal(5, 1, *shape[1:], seed=2)
    sockets = Sockets(vector=vector, image=image) if told else Sockets()
    e = (w / "embedding" / "mlp" / 0).linear(sinusoids(t, 32))
    e = (w / "embedding" / "mlp" / 2).linear(e * torch.sigmoid(e)) + (vector.double() if told else 0)
    seen = torch.cat([x.flatten(1), *([image.flatten(1)] if told else [])], dim=1).double()
    h = torch.zeros(5, 0, dtype=torch.float64)
    for number in range(3):
        layer = w / "layers" / number
        h = (layer / "linear").linear(torch.cat([h, seen], dim=1))
        centred = h - h.mean(1, keepdim=True)
        h = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
        h = h * (layer / "norm")["weight"] + (layer / "norm")["bias"]
        scale, shift = (layer / "modulation").linear(e * torch.sigmoid(e)).split(24, dim=1)
        h = h * (1 + scale) + shift
        h = h * torch.sigmoid(h)
    expected = (w / "out").linear(torch.cat([h, seen], dim=1)).reshape(5, 2 * shape[0], *shape[1:])
    with torch.no_grad():
        same(network(x, t, sockets), expected)


# Between an image and one vector


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def level_sizes(size: tuple[int, int], patch: int, levels: int) -> list[tuple[int, int]]:
    return [tuple(math.ceil(math.ceil(side / patch) / 2**level) for side in size) for level in range(levels)]  # type: ignore[misc]


def halved(x: Tensor) -> Tensor:
    """The mean of the pixels that there are in each square of two by two."""
    rows = [x[:, :, i : i + 2] for i in range(0, x.shape[2], 2)]
    squares = [[row[..., j : j + 2].mean((2, 3)) for j in range(0, x.shape[3], 2)] for row in rows]
    return torch.stack([torch.stack(row, dim=-1) for row in squares], dim=-2)


def read(w: W, x: Tensor, levels: int, blocks: int, patch: int) -> Tensor:
    h = (w / "stem").conv(in_patches(padded(x.double(), patch), patch))
    for level in range(levels):
        h = halved(h) if level else h
        for block in range(blocks):
            b = w / "levels" / level / block
            inner = (b / "second").conv(leaky((b / "first").conv(leaky(h))))
            h = inner + ((b / "shortcut").conv(h) if "shortcut" in b else h)
    return (w / "out").linear(leaky(h).flatten(1))


LAYOUTS = [((2, 13, 10), (8, 12, 12), 1, 2), ((1, 9, 7), (12, 8), 2, 1), ((3, 5, 3), (8, 16, 16), 1, 1)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_readers(layout: tuple[tuple[int, int, int], tuple[int, ...], int, int]) -> None:
    shape, channels, blocks, patch = layout
    x, told = normal(4, *shape), normal(4, 10, seed=1)
    make = (shape, channels, blocks, patch, 10)
    discriminator = awake(Discriminator(Reader(*make)))
    w = stated(discriminator)
    features = read(w / "reader", x, len(channels), blocks, patch)
    logits = (w / "real").linear(leaky(features))[:, 0]
    with torch.no_grad():
        same(discriminator(x), logits)
        same(discriminator(x, told), logits + (leaky(features) * told).sum(1) / math.sqrt(10))
    encoder = awake(Encoder(Reader(*make), 3))
    w = stated(encoder)
    features = read(w / "reader", x, len(channels), blocks, patch)
    with torch.no_grad():
        for vector in (None, told):
            both = (w / "out").linear(leaky(features if vector is None else features + vector))
            same(torch.cat(encoder(x, vector), dim=1), both)


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("kind", ["layer", "group"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_generator(
    layout: tuple[tuple[int, int, int], tuple[int, ...], int, int], kind: str, bounded: bool
) -> None:
    shape, channels, blocks, patch = layout
    network = awake(Generator(shape, 6, channels, blocks, patch, 12, kind, bounded))  # type: ignore[arg-type]
    z, told, w = normal(4, 6), normal(4, 12, seed=1), stated(network)
    sizes = level_sizes(shape[1:], patch, len(channels))[::-1]
    for vector in (None, told):
        e = (w / "latent").linear(z.double())
        e = (w / "embed").linear(F.silu(e if vector is None else e + vector))
        h = (w / "start").linear(F.silu(e)).reshape(4, channels[-1], *sizes[0])
        for level, (height, width) in enumerate(sizes):
            h = doubled(h)[..., :height, :width] if level else h
            for block in range(blocks):
                h = residual(w / "levels" / level / block, h, e, kind)
        h = (w / "out").conv(F.silu(normed(w / "out_norm", h, kind)))
        h = out_of_patches(h, patch)[..., : shape[1], : shape[2]]
        with torch.no_grad():
            same(network(z, vector), h.tanh() if bounded else h)


@pytest.mark.parametrize("shape", [(1, 14, 9), (3, 40, 33)], ids=str)
def test_the_classifier(shape: tuple[int, int, int]) -> None:
    config = ClassifierConfig().seeing(shape, {"label": {"kind": "classes", "classes": ("a", "b", "c")}})
    network = awake(config.build({})).eval()
    x, w = normal(4, *shape), stated(network)
    halvings = 2 if min(shape[1:]) <= 32 else 3
    h, place = x.double(), 0
    for stage in range(halvings):
        first = 1 if stage == 0 and min(shape[1:]) <= 16 else 2
        for stride in (first, 1):
            kernel = (w / "body" / place / 0)["weight"]
            h = torch.relu(batch_normed(w / "body" / place / 1, F.conv2d(h, kernel, None, stride, 1), False))
            place += 1
    h = F.conv2d(h, (w / "body" / place / 0)["weight"], None, 1, 1)
    features = torch.relu(batch_normed(w / "body" / place / 1, h, False)).mean((2, 3))
    with torch.no_grad():
        found, probabilities = network.read(x)  # type: ignore[operator]
    same(found, features)
    same(probabilities, (w / "head").linear(features).softmax(1))
