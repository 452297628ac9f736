from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from unstir.networks.blocks import Attention, CrossAttention, LinearAttention, Norm, ResidualBlock


@pytest.mark.parametrize("channels", [1, 3, 4, 6, 10, 16, 30, 100, 128, 130, 256])
def test_group_norm_divides_its_channels(channels: int) -> None:
    groups = Norm("group", channels).groups
    assert channels % groups == 0
    assert groups <= 32
    assert channels // groups >= min(4, channels)
    if channels % 128 == 0:
        assert groups == 32


def test_a_layer_norm_has_no_groups() -> None:
    assert Norm("layer", 8).groups == 0


@pytest.mark.parametrize("kind", ["group", "layer"])
def test_a_modulated_norm_is_scaled_and_shifted_after_its_own_weights(kind: str) -> None:
    layer = Norm(kind, 8)  # type: ignore[arg-type]
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x, modulation = torch.randn(2, 8, 3, 4), torch.randn(2, 16)
    scale, shift = modulation[..., None, None].chunk(2, dim=1)
    torch.testing.assert_close(layer(x, modulation)[0], layer(x)[0] * (1 + scale) + shift)


@pytest.mark.parametrize("kind", ["group", "layer"])
@pytest.mark.parametrize("channels_out", [8, 12])
def test_a_residual_block_starts_as_its_shortcut(kind: str, channels_out: int) -> None:
    block = ResidualBlock(8, channels_out, 16, kind=kind)  # type: ignore[arg-type]
    x = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(block(x, torch.randn(2, 16)), block.shortcut(x))
    assert channels_out != 8 or torch.equal(block.shortcut(x), x)


def test_a_residual_block_scales_and_shifts_by_the_embedding() -> None:
    block = ResidualBlock(4, 4, 8).eval()
    nn.init.normal_(block.second.weight)
    x, e = torch.randn(2, 4, 5, 5), torch.randn(2, 8)
    silu = nn.functional.silu
    scale, shift = block.modulation(silu(e)).chunk(2, 1)
    h, _ = block.second_norm(block.first(silu(block.first_norm(x)[0])))
    h = h * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
    torch.testing.assert_close(block(x, e), x + block.second(silu(h)))


@pytest.mark.parametrize("p", [0.0, 0.3, 0.8])
def test_a_residual_block_drops_activations_before_its_second_convolution_in_training_alone(p: float) -> None:
    block = ResidualBlock(8, 8, 16, dropout=p)
    nn.init.normal_(block.second.weight)
    seen: list[torch.Tensor] = []
    block.second.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    x, embedding = torch.randn(4, 8, 16, 16), torch.randn(4, 16)
    for training in (False, True):
        block.train(training)
        block(x, embedding)
    whole, dropped = seen
    kept = dropped != 0
    assert (whole != 0).all()
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=0.02)
    torch.testing.assert_close(dropped[kept], whole[kept] / (1 - p))


@pytest.mark.parametrize("channels", [64, 128])
def test_attention_is_softmax_of_qk_over_root_d_v(channels: int) -> None:
    attention = Attention(channels)
    nn.init.normal_(attention.out.weight, std=0.1)
    x = torch.randn(2, channels, 3, 4)
    heads, d = channels // 64, 64
    tokens = attention.norm(x)[0].flatten(2).transpose(1, 2)
    q, k, v = attention.qkv(tokens).chunk(3, dim=-1)
    mixed = torch.empty_like(q)
    for head in range(heads):
        part = slice(head * d, (head + 1) * d)
        weights = (q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(d)).softmax(-1)
        mixed[..., part] = weights @ v[..., part]
    expected = x + attention.out(mixed).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


def test_linear_attention_equals_an_explicit_sum() -> None:
    q, k, v = torch.randn(3, 2, 2, 6, 4, dtype=torch.float64)
    result = LinearAttention(8).mix(q, k, v)
    for b in range(2):
        for head in range(2):
            for i in range(6):
                over_channels = q[b, head, i].exp() / q[b, head, i].exp().sum()
                expected = torch.zeros(4, dtype=torch.float64)
                for j in range(6):
                    over_pixels = k[b, head, j].exp() / k[b, head].exp().sum(0)
                    expected += (over_channels * over_pixels).sum() * v[b, head, j]
                torch.testing.assert_close(result[b, head, i], expected)


@pytest.mark.parametrize("kind", [Attention, LinearAttention])
def test_attention_moves_with_its_pixels(kind: type[Attention]) -> None:
    """Attention knows no places: permuted pixels in give permuted pixels out."""
    attention = kind(8)
    nn.init.normal_(attention.out.weight)
    x, order = torch.randn(1, 8, 2, 6), torch.randperm(12)
    moved = x.flatten(2)[..., order].reshape(x.shape)
    torch.testing.assert_close(attention(moved), attention(x).flatten(2)[..., order].reshape(x.shape))


@pytest.mark.parametrize("kind", [Attention, LinearAttention])
def test_attention_starts_as_the_identity(kind: type[Attention]) -> None:
    x = torch.randn(1, 8, 3, 3)
    assert torch.equal(kind(8)(x), x)


@pytest.mark.parametrize(("channels", "heads"), [(64, 1), (128, 2), (130, 2), (24, 1)])
@pytest.mark.parametrize("kind", ["group", "layer"])
@pytest.mark.parametrize("learns", [True, False])
def test_cross_attention_is_softmax_of_qk_over_root_d_v(
    channels: int, heads: int, kind: str, learns: bool
) -> None:
    """Queries of the pixels in their order, keys and values of the tokens, head by head."""
    layer = CrossAttention(channels, 10, kind=kind).requires_grad_(learns)  # type: ignore[arg-type]
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, tokens = torch.randn(2, channels, 3, 4), torch.randn(2, 5, 10)
    assert layer.heads == heads
    d = channels // heads
    expected = x.clone()
    for b in range(2):
        k = layer.kv.weight[:channels] @ tokens[b].T + layer.kv.bias[:channels, None]
        v = layer.kv.weight[channels:] @ tokens[b].T + layer.kv.bias[channels:, None]
        normed = layer.norm(x)[0][b]
        for i in range(3):
            for j in range(4):
                q = layer.q.weight @ normed[:, i, j] + layer.q.bias
                mixed = torch.zeros(channels)
                for head in range(heads):
                    part = slice(head * d, (head + 1) * d)
                    weights = (q[part] @ k[part] / math.sqrt(d)).softmax(0)
                    mixed[part] = v[part] @ weights
                expected[b, :, i, j] += layer.out.weight @ mixed + layer.out.bias
    torch.testing.assert_close(layer(x, tokens), expected, rtol=1e-4, atol=1e-4)


def test_cross_attention_knows_no_order_of_tokens_and_starts_as_the_identity() -> None:
    layer = CrossAttention(8, 6)
    x, tokens = torch.randn(2, 8, 3, 3), torch.randn(2, 4, 6)
    assert torch.equal(layer(x, tokens), x)
    nn.init.normal_(layer.out.weight)
    result = layer(x, tokens)
    assert (result - x).abs().max() > 0.1
    torch.testing.assert_close(layer(x, tokens[:, [2, 0, 3, 1]]), result)
    torch.testing.assert_close(layer(x, tokens[:, [0, 0, 0]]), layer(x, tokens[:, :1]))
