"""Where the U-Net is told tokens."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unstir.diffusion import Sockets
from unstir.networks.blocks import Attention, CrossAttention, LinearAttention
from unstir.networks.unet import UNet


def _network(attention: tuple[str, ...], tokens: int) -> UNet:
    torch.manual_seed(0)
    network = UNet(1, (8, 16), blocks=1, attention=attention, tokens=tokens).eval()
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.2)
    return network


@pytest.mark.parametrize(
    ("attention", "stages"),
    [(("none", "none"), 1), (("none", "full"), 4), (("linear", "none"), 4), (("linear", "full"), 7)],
    ids=str,
)
def test_each_attention_is_followed_by_one_to_the_tokens(attention: tuple[str, ...], stages: int) -> None:
    network = _network(attention, tokens=5)
    seen: list[tuple[nn.Module, torch.Tensor, torch.Tensor]] = []
    for module in network.modules():
        if isinstance(module, (Attention, LinearAttention, CrossAttention)):
            module.register_forward_hook(lambda module, args, output: seen.append((module, args[0], output)))
    tokens = torch.randn(2, 3, 5)
    network(torch.randn(2, 1, 8, 8), torch.tensor([0.2, 0.9]), Sockets(tokens=tokens))
    kinds = [isinstance(module, CrossAttention) for module, *_ in seen]
    assert kinds == [False, True] * stages
    for (_, _, output), (_, given, _) in zip(seen[::2], seen[1::2], strict=True):
        assert given is output


def test_tokens_reach_the_output_only_where_levels_attend() -> None:
    """With the middle's attention to them silenced, they reach it by a level's or not at all."""
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([0.2, 0.9])
    tokens = [Sockets(tokens=torch.randn(2, 3, 5)) for _ in range(2)]
    for attention, reaches in ((("none", "none"), False), (("none", "linear"), True), (("full", "none"), True)):
        network = _network(attention, tokens=5)
        apart = (network(x, t, tokens[0]) - network(x, t, tokens[1])).abs().max()
        assert apart > 1e-4
        nn.init.zeros_(network.middle[0].cross.out.weight)
        silenced = (network(x, t, tokens[0]) - network(x, t, tokens[1])).abs().max()
        assert (silenced > 1e-4) == reaches
        assert reaches or silenced == 0


def test_a_network_without_tokens_is_the_same_but_for_them() -> None:
    with_tokens, without = (_network(("linear", "full"), tokens) for tokens in (5, 0))
    for module in with_tokens.modules():
        if isinstance(module, CrossAttention):
            nn.init.zeros_(module.out.weight)
            nn.init.zeros_(module.out.bias)
    missing, unexpected = without.load_state_dict(with_tokens.state_dict(), strict=False)
    assert not missing and all(".cross." in name for name in unexpected)
    x, t, vector = torch.randn(2, 1, 8, 8), torch.tensor([0.2, 0.9]), torch.randn(2, 32)
    y = without(x, t, Sockets(vector=vector))
    assert y.abs().max() > 0.1
    assert torch.equal(with_tokens(x, t, Sockets(vector=vector, tokens=torch.randn(2, 3, 5))), y)


@pytest.mark.parametrize("built", [True, False])
def test_tokens_without_a_socket_or_a_socket_without_tokens_are_refused(built: bool) -> None:
    network = _network(("none", "none"), tokens=5 if built else 0)
    sockets = Sockets(tokens=None if built else torch.randn(1, 3, 5))
    with pytest.raises(ValueError, match="needs their width when it is built, and only then"):
        network(torch.randn(1, 1, 8, 8), torch.tensor([0.2]), sockets)
