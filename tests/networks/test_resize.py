from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from unstir.networks.plain_unet import PlainUNet
from unstir.networks.resize import pad_to
from unstir.networks.unet import UNet


@pytest.mark.parametrize(
    ("size", "stride", "padded"), [((20, 36), 16, (32, 48)), ((97, 61), 6, (102, 66)), ((1, 1), 8, (8, 8))]
)
def test_padding_repeats_the_edge_and_leaves_the_content_in_place(
    size: tuple[int, int], stride: int, padded: tuple[int, int]
) -> None:
    x = torch.randn(2, 3, *size)
    y = pad_to(x, stride)
    assert y.shape[-2:] == padded
    assert torch.equal(y[..., : size[0], : size[1]], x)
    assert (y[..., size[0] :, : size[1]] == x[..., -1:, :]).all()
    assert (y[..., size[1] :] == y[..., size[1] - 1 : size[1]]).all()


def test_what_fits_is_not_touched() -> None:
    x = torch.randn(1, 1, 32, 16)
    assert pad_to(x, 16) is x


def _identity(network: nn.Module) -> None:
    for name in ("stem", "out"):
        nn.init.dirac_(getattr(network, name).weight)
        nn.init.zeros_(getattr(network, name).bias)


class _OnlySilu(nn.Module):
    def forward(self, x: torch.Tensor, silu: bool) -> tuple[torch.Tensor, torch.Tensor]:
        return functional.silu(x) if silu else x, x


@pytest.mark.parametrize("patch", [1, 2, 3])
@pytest.mark.parametrize("size", [(8, 8), (20, 37), (7, 5)], ids=str)
def test_the_unet_puts_pixels_back_where_they_were(patch: int, size: tuple[int, int]) -> None:
    """With identities for its insides, a U-Net applies its last activation to each pixel, in its place."""
    network = UNet(3, channels=(3 * patch**2, 8), blocks=1, attention=("none", "none"), patch=patch)
    network.down = network.middle = network.up = nn.ModuleList()
    network.out_norm = _OnlySilu()
    _identity(network)
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(network(x, torch.tensor([0.5, 0.5])), functional.silu(x))


@pytest.mark.parametrize("size", [(8, 8), (20, 37), (7, 5)], ids=str)
def test_the_plain_unet_puts_pixels_back_where_they_were(size: tuple[int, int]) -> None:
    network = PlainUNet(3, channels=(3, 8, 8))
    network.down = network.up = nn.ModuleList()
    _identity(network)
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(network(x, torch.tensor([0.5, 0.5])), x)


@pytest.mark.parametrize("patch", [1, 2, 3])
def test_any_size_is_as_padded_by_hand(patch: int) -> None:
    torch.manual_seed(0)
    network = UNet(2, channels=(8, 16), blocks=1, attention=("linear", "full"), patch=patch).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, t = torch.randn(1, 2, 19, 13), torch.tensor([0.4])
    y = network(x, t)
    assert y.std() > 0.1
    torch.testing.assert_close(y, network(pad_to(x, network.stride), t)[..., :19, :13], rtol=1e-4, atol=1e-4)
