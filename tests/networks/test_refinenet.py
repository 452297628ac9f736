from __future__ import annotations

import pytest
import torch
from torch import nn

from unstir.networks.refinenet import InstanceNormPlus, RefineNet
from unstir.networks.resize import pad_to


def _by_hand(x: torch.Tensor, modulation: torch.Tensor) -> torch.Tensor:
    """Song and Ermon 2019, appendix A, channel by channel."""
    y = torch.empty_like(x)
    for b, image in enumerate(x):
        means = [float(channel.mean()) for channel in image]
        m = sum(means) / len(means)
        v = (sum((mean - m) ** 2 for mean in means) / len(means)) ** 0.5
        for k, channel in enumerate(image):
            gain, mean_gain, shift = modulation[b].reshape(3, -1)[:, k]
            s = (channel - means[k]).square().mean().sqrt()
            y[b, k] = gain * (channel - means[k]) / s + shift + mean_gain * (means[k] - m) / v
    return y


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_plus_by_hand(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = InstanceNormPlus(6, 4)
    nn.init.normal_(layer.modulation.weight)
    x = (3 * torch.randn(2, 6, 5, 7) + torch.randn(2, 6, 1, 1)).contiguous(memory_format=layout)
    embedding = torch.randn(2, 4)
    y, around = layer(x, embedding)
    torch.testing.assert_close(y, _by_hand(x, layer.modulation(embedding)), rtol=1e-4, atol=1e-4)
    assert torch.equal(around, x)


def test_it_starts_near_gain_one_and_sees_the_channels_means() -> None:
    torch.manual_seed(0)
    layer = InstanceNormPlus(8, 16)
    x, embedding = torch.randn(3, 8, 6, 6), torch.randn(3, 16)
    modulation = layer.modulation(embedding)
    expected = torch.tensor([1.0, 1.0, 0.0]).repeat_interleave(8).expand_as(modulation)
    torch.testing.assert_close(modulation, expected, rtol=0, atol=0.4)
    brighter = x.clone()
    brighter[:, 2] += 5  # an instance norm would not see it
    assert (layer(brighter, embedding)[0] - layer(x, embedding)[0]).abs().amax() > 1


def test_the_gradient_is_that_of_the_definition() -> None:
    torch.manual_seed(0)
    layer, embedding, x = InstanceNormPlus(4, 3), torch.randn(2, 3), torch.randn(2, 4, 3, 5)
    upstream = torch.randn_like(x)
    ours, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    (layer(ours, embedding)[0] * upstream).sum().backward()
    gain, mean_gain, shift = (part[..., None, None] for part in layer.modulation(embedding).detach().chunk(3, 1))
    mu = plain.mean((2, 3), keepdim=True)
    s, spread = (plain - mu).square().mean((2, 3), keepdim=True), (mu - mu.mean(1, keepdim=True))
    v = spread.square().mean(1, keepdim=True)
    y = gain * (plain - mu) / (s + 1e-5).sqrt() + shift + mean_gain * spread / (v + 1e-5).sqrt()
    (y * upstream).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-3, atol=1e-4)


def test_deeper_levels_are_dilated_and_not_halved() -> None:
    network = RefineNet(1, (4, 4, 4, 4), blocks=1)
    assert [level[0].first.dilation[0] for level in network.levels] == [1, 1, 2, 4]
    sizes: list[int] = []
    for level in network.levels:
        level[-1].register_forward_hook(lambda module, args, output: sizes.append(output.shape[-1]))
    network(torch.randn(1, 1, 16, 16), torch.tensor([0.5]))
    assert sizes == [16, 8, 8, 8]


@pytest.mark.parametrize("patch", [1, 2, 3])
def test_any_size_is_as_padded_by_hand(patch: int) -> None:
    torch.manual_seed(0)
    network = RefineNet(2, (8, 16), blocks=1, patch=patch).eval()
    nn.init.normal_(network.out.weight)
    x, t = torch.randn(1, 2, 19, 13), torch.tensor([0.4])
    y = network(x, t)
    assert y.std() > 0.1
    torch.testing.assert_close(y, network(pad_to(x, network.stride), t)[..., :19, :13])
