from __future__ import annotations

import torch

from unstir.diffusion import Sockets
from unstir.networks.fully_connected import FullyConnectedUNet


def awake(network: FullyConnectedUNet) -> FullyConnectedUNet:
    """Return the network with weights where it starts at zero, its output and its gate."""
    for layer in (network.out, network.gate):
        torch.nn.init.normal_(layer.weight, std=0.3)
        torch.nn.init.normal_(layer.bias, std=0.3)
    return network


def test_without_the_time_element_the_time_does_not_matter() -> None:
    x, early, late = torch.randn(2, 1, 4, 4), torch.tensor([0.1, 0.9]), torch.tensor([0.9, 0.2])
    for time in (True, False):
        network = awake(FullyConnectedUNet((1, 4, 4), (16, 8), time=time))
        y = network(x, early)
        assert y.std() > 0.1
        assert torch.equal(y, network(x, late)) != time


def test_the_input_is_pixels_then_the_image_then_the_vector_then_the_time() -> None:
    network = FullyConnectedUNet((1, 2, 2), (16, 8), vector=3, image=2)
    seen: list[torch.Tensor] = []
    network.down[0].register_forward_hook(lambda module, args, output: seen.append(args[0]))
    x, image = torch.arange(8.0).reshape(2, 1, 2, 2), 10 + torch.arange(16.0).reshape(2, 2, 2, 2)
    t, vector = torch.tensor([0.25, 0.5]), torch.tensor([[7.0, 8, 9], [-7, -8, -9]])
    network(x, t, Sockets(vector=vector, image=image))
    network(x, t, Sockets(image=image))
    first = [0, 1, 2, 3, *range(10, 18)]
    second = [4, 5, 6, 7, *range(18, 26)]
    assert seen[0].tolist() == [[*first, 7, 8, 9, 0.25], [*second, -7, -8, -9, 0.5]]
    assert seen[1].tolist() == [[*first, 0, 0, 0, 0.25], [*second, 0, 0, 0, 0.5]]


def test_a_vector_is_as_elements_of_the_input() -> None:
    """A network that is told a vector computes what one of more pixels would, whose input has the vector."""
    torch.manual_seed(0)
    told, joined = FullyConnectedUNet((1, 2, 2), (16, 8), vector=4), awake(FullyConnectedUNet((1, 2, 4), (16, 8)))
    state = {name: value for name, value in joined.state_dict().items() if not name.startswith("out")}
    told.load_state_dict(state, strict=False)
    told.out.weight.data, told.out.bias.data = joined.out.weight[:4], joined.out.bias[:4]
    x, t, vector = torch.randn(3, 1, 1, 4), torch.tensor([0.1, 0.5, 0.9]), torch.randn(3, 4)
    expected = joined(torch.cat([x, vector[:, None, None]], dim=2).reshape(3, 1, 2, 4), t)[:, :, 0]
    assert expected.abs().max() > 0.1
    result = told(x.reshape(3, 1, 2, 2), t, Sockets(vector=vector)).reshape(3, 1, 4)
    torch.testing.assert_close(result, expected)
    silent = told(x.reshape(3, 1, 2, 2), t).reshape(3, 1, 4)
    none = joined(torch.cat([x, torch.zeros_like(x)], dim=2).reshape(3, 1, 2, 4), t)[:, :, 0]
    torch.testing.assert_close(silent, none)
    assert (silent - result).abs().max() > 0.1


def test_skips_join_layers_of_equal_width_across_the_u() -> None:
    network = awake(FullyConnectedUNet((1, 2, 2), (16, 8, 4), time=False))
    x = torch.randn(3, 1, 2, 2)
    a = network.down[0](x.flatten(1))
    b = network.down[1](a)
    c = network.down[2](b)
    d = network.up[0](c) + b
    e = network.up[1](d) + a
    expected = network.gate(e)[..., None, None] * x + network.out(e).reshape(x.shape)
    torch.testing.assert_close(network(x, torch.zeros(3)), expected)
