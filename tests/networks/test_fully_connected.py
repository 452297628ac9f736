from __future__ import annotations

import torch

from unstir.diffusion import Condition
from unstir.networks.fully_connected import FullyConnectedUNet


def test_without_the_time_element_the_time_does_not_matter() -> None:
    network = FullyConnectedUNet((1, 4, 4), (16, 8), time=False)
    x = torch.randn(2, 1, 4, 4)
    assert torch.equal(network(x, torch.tensor([0.1, 0.9])), network(x, torch.tensor([0.9, 0.2])))


def test_the_input_is_pixels_then_one_hot_labels_then_the_time() -> None:
    network = FullyConnectedUNet((1, 2, 2), (16, 8), classes=3)
    seen: list[torch.Tensor] = []
    network.down[0].register_forward_hook(lambda module, args, output: seen.append(args[0]))
    x = torch.arange(8.0).reshape(2, 1, 2, 2)
    network(x, torch.tensor([0.25, 0.5]), Condition(torch.tensor([2, 1]), hidden=torch.tensor([False, True])))
    assert seen[0].tolist() == [[0, 1, 2, 3, 0, 0, 1, 0.25], [4, 5, 6, 7, 0, 0, 0, 0.5]]


def test_skips_join_layers_of_equal_width_across_the_u() -> None:
    network = FullyConnectedUNet((1, 2, 2), (16, 8, 4), time=False)
    x = torch.randn(3, 1, 2, 2)
    a = network.down[0](x.flatten(1))
    b = network.down[1](a)
    c = network.down[2](b)
    d = network.up[0](c) + b
    e = network.up[1](d) + a
    torch.testing.assert_close(network(x, torch.zeros(3)), network.out(e).reshape(x.shape))
