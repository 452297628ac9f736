from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from unstir.networks.efficientnet import EfficientNetLite0, SameConv


@pytest.mark.parametrize(("side", "kernel", "stride"), [(8, 3, 2), (7, 3, 2), (8, 5, 2), (7, 5, 1), (6, 1, 1)])
def test_same_padding_puts_the_odd_pixel_behind(side: int, kernel: int, stride: int) -> None:
    convolution, x = SameConv(1, 1, kernel, stride).requires_grad_(False), torch.randn(1, 1, side, side)
    found = convolution(x)[0, 0]
    positions = -(-side // stride)
    total = max((positions - 1) * stride + kernel - side, 0)
    padded = torch.zeros(side + 2 * kernel, side + 2 * kernel)
    padded[kernel : kernel + side, kernel : kernel + side] = x[0, 0]
    start = kernel - total // 2
    for i in range(positions):
        for j in range(positions):
            top, left = start + i * stride, start + j * stride
            window = padded[top : top + kernel, left : left + kernel]
            assert float(found[i, j]) == pytest.approx(float((window * convolution.weight[0, 0]).sum()), abs=1e-5)


def test_a_block_adds_its_input_where_shapes_are_equal() -> None:
    network = EfficientNetLite0().eval()
    blocks = list(network._blocks)
    x = torch.randn(1, 24, 9, 9)
    for parameter in blocks[2]._bn2.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(blocks[2](x), x)  # the second of its stage
    assert blocks[1](torch.randn(1, 16, 9, 9)).shape == (1, 24, 5, 5)
    first = blocks[0]
    y = functional.relu6(first._bn1(first._depthwise_conv(torch.ones(1, 32, 4, 4))))
    assert torch.equal(first(torch.ones(1, 32, 4, 4)), first._bn2(first._project_conv(y)))


def test_stages_are_what_the_whole_network_sees_on_its_way() -> None:
    torch.manual_seed(0)
    network, x = EfficientNetLite0().eval().requires_grad_(False), torch.randn(1, 3, 33, 64)
    seen: list[torch.Tensor] = []
    for block in network._blocks:
        block.register_forward_hook(lambda layer, given, made: seen.append(made))
    network(x)
    last = [[made for made in seen if made.shape[-1] == side][-1] for side in (32, 16, 8)]
    at_a_sixteenth = [made for made in seen if made.shape[-1] == 4][-1]
    for stage, expected in zip(network.stages(x), [*last, at_a_sixteenth], strict=True):
        assert torch.equal(stage, expected)
