"""What every network must do, whatever it is made of."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from unstir.diffusion import Condition
from unstir.networks.config import FullyConnectedConfig, NetworkConfig, PlainUNetConfig
from unstir.networks.fully_connected import FullyConnectedUNet
from unstir.networks.told import Told

Make = Callable[..., nn.Module]
SHAPES = [(1, 28, 28), (3, 20, 36), (4, 49, 31), (7, 5, 3)]
LABEL = {"label": Told(kind="classes", classes=("a", "b", "c"))}


def _inputs(shape: tuple[int, ...], batch: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, *shape, generator=generator), torch.linspace(0.1, 0.9, batch)


def _labels(*labels: int) -> Condition:
    return Condition.of({"label": torch.tensor(labels)})


def _everything(config: NetworkConfig, batch: int) -> tuple[dict[str, Told], Condition]:
    """Return a part of each kind in each socket that the network has, hidden from every other image."""
    values = {
        "classes": torch.arange(batch) % 3,
        "numbers": torch.randn(batch, 2),
        "embedding": torch.randn(batch, 5),
        "picture": torch.randn(batch, 2, 9, 7),
    }
    facts = {"classes": {"classes": ("a", "b", "c")}, "numbers": {"width": 2, "mean": (1.0, 2.0)}}
    told, parts = {}, {}
    for socket in config.sockets:
        for kind in values if socket == "image" else ("classes", "numbers", "embedding"):
            width = {"embedding": 5, "picture": 2}.get(kind, 0)
            told[f"{kind}_{socket}"] = Told(kind=kind, socket=socket, **{"width": width, **facts.get(kind, {})})
            parts[f"{kind}_{socket}"] = values[kind]
    if "tokens" in config.sockets:
        told["sequence"], parts["sequence"] = (
            Told(kind="embedding", socket="tokens", width=4),
            torch.randn(batch, 3, 4),
        )
    return told, Condition.of(parts).hide(mask=torch.arange(batch) % 2 == 1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_parameter_learns_at_any_shape(
    make: Make, config: NetworkConfig, shape: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    told, condition = _everything(config, 8)
    network = make(shape, told).train()
    x, t = _inputs(shape, 8)
    y = network(x, t, condition)
    assert y.shape == x.shape
    (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-7]
    assert not dead
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_label_table_rows_each_learn(make: Make) -> None:
    network = make((1, 8, 8), LABEL).train()
    (table,) = (m for m in network.modules() if isinstance(m, nn.Embedding))
    x, t = _inputs((1, 8, 8), 4)
    labels = _labels(0, 1, 2, 0).hide(mask=torch.tensor([False, False, False, True]))
    network(x, t, labels).square().sum().backward()
    assert table.weight.shape[0] == 4
    assert (table.weight.grad.abs().sum(1) > 0).all()


def test_an_untrained_network_answers_zero(config: NetworkConfig) -> None:
    """So that the first prediction is no noise of the weights; but for the tutorials' network, as theirs."""
    torch.manual_seed(0)
    y = config.build((2, 8, 8), outputs=2)(*_inputs((2, 8, 8)))
    assert isinstance(config, PlainUNetConfig) != bool((y == 0).all())


def test_the_time_matters(make: Make) -> None:
    network = make((1, 8, 8)).eval()
    x, _ = _inputs((1, 8, 8), 2)
    a, b = network(x, torch.tensor([0.2, 0.2])), network(x, torch.tensor([0.2, 0.21]))
    assert torch.equal(a[0], b[0]) or torch.allclose(a[0], b[0], atol=1e-6)
    assert (a[1] - b[1]).abs().max() > 1e-4


def test_labels_matter_and_hidden_ones_are_no_labels(make: Make) -> None:
    network = make((1, 8, 8), LABEL).eval()
    x, t = _inputs((1, 8, 8), 3)
    shown, none, other = network(x, t, _labels(0, 1, 2)), network(x, t), network(x, t, _labels(1, 2, 0))
    assert ((shown - none).abs().amax((1, 2, 3)) > 1e-3).all()
    assert ((shown - other).abs().amax((1, 2, 3)) > 1e-3).all()
    assert torch.equal(network(x, t, _labels(0, 1, 2).hide()), none)
    part = network(x, t, _labels(0, 1, 2).hide(mask=torch.tensor([False, True, False])))
    assert torch.equal(part, torch.stack([shown[0], none[1], shown[2]]))


@pytest.mark.parametrize("socket", ["vector", "tokens", "image"])
def test_each_socket_reaches_the_output_of_its_own_image_alone(
    make: Make, config: NetworkConfig, socket: str
) -> None:
    if socket not in config.sockets:
        pytest.skip(f"it has no socket {socket}")
    told = {"numbers": Told(kind="numbers", socket=socket, width=2), **LABEL}
    network = make((1, 8, 8), told).eval()
    x, t = _inputs((1, 8, 8), 3)
    numbers = torch.randn(3, 2)
    condition = Condition.of({"numbers": numbers, "label": torch.arange(3)})
    other = Condition.of({"numbers": numbers.index_fill(0, torch.tensor([1]), 5.0), "label": torch.arange(3)})
    change = (network(x, t, condition) - network(x, t, other)).abs().amax((1, 2, 3))
    assert change[1] > 1e-3
    assert change[0] == change[2] == 0


def test_the_image_socket_is_more_channels_of_the_input(make: Make, config: NetworkConfig) -> None:
    """A network that is told a picture computes what one of more channels would, whose input has the picture."""
    if isinstance(config, FullyConnectedConfig):
        pytest.skip("its gate weighs the images alone; it has a test of its own")
    network = make((1, 8, 8), {"picture": Told(kind="picture", width=2)}).eval()
    x, t = _inputs((1, 8, 8), 3)
    picture = torch.randn(3, 2, 8, 8)
    y = network(x, t, Condition.of({"picture": picture}))
    assert torch.equal(y, network.network(torch.cat([x, picture], dim=1), t))
    assert (y - network.network(torch.cat([picture, x], dim=1), t)).abs().max() > 1e-3
    assert (y - network(x, t, Condition.of({"picture": picture.flip(1)}))).abs().max() > 1e-3


def _gradient(network: nn.Module, x: Tensor, t: Tensor, condition: Condition, low: bool = False) -> Tensor:
    """Return the gradient of the input in a fixed direction of the output, taken inside ``no_grad``."""
    x = x.clone().requires_grad_()
    with torch.no_grad(), torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=low):
        y = network(x, t, condition)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(3))
    (gradient,) = torch.autograd.grad(y, x, upstream.to(y.dtype))
    assert gradient.dtype == torch.float32
    return gradient


def _distance(gradient: Tensor, expected: Tensor) -> float:
    return float((gradient - expected).norm() / expected.norm())


def test_gradients_of_the_input_alone(make: Make, config: NetworkConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a frozen network, as a guidance takes them: those of one that learns, and of PyTorch's operators."""
    torch.manual_seed(0)
    told, condition = _everything(config, 2)
    network = make((3, 16, 16), told).eval()
    x, t = _inputs((3, 16, 16), 2)
    learning, low = _gradient(network, x, t, condition), _gradient(network, x, t, condition, low=True)
    network.requires_grad_(False)
    frozen = _gradient(network, x, t, condition)
    assert _distance(frozen, learning) < 1e-5
    assert _distance(_gradient(network, x, t, condition, low=True), low) < 1e-2
    assert _distance(low, frozen) < 0.2
    for name in ("attention", "convolution", "norm"):
        monkeypatch.setattr(f"unstir.kernels.{name}.library", lambda: None)
    assert _distance(frozen, _gradient(network, x, t, condition)) < 1e-4


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 13, 9)], ids=str)
def test_an_image_does_not_depend_on_its_neighbours(make: Make, shape: tuple[int, int, int]) -> None:
    network = make(shape, LABEL).eval()
    x, t = _inputs(shape, 5)
    labels = _labels(0, 1, 2, 0, 1)
    whole = network(x, t, labels)
    mixed = torch.cat([x[:1], 100 * torch.randn(4, *shape)])
    assert torch.equal(network(mixed, t, labels)[0], whole[0])
    for i in range(5):
        alone = network(x[i : i + 1], t[i : i + 1], labels[i : i + 1])
        torch.testing.assert_close(alone[0], whole[i], rtol=1e-4, atol=1e-5)


def test_memory_format_does_not_matter(make: Make) -> None:
    network = make((3, 12, 8)).eval()
    x, t = _inputs((3, 12, 8))
    y = network(x, t)
    other = network.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last), t)
    torch.testing.assert_close(other, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 13, 9)], ids=str)
def test_several_outputs_come_one_images_channels_after_another(make: Make, shape: tuple[int, ...]) -> None:
    network = make(shape, outputs=3).eval()
    x, t = _inputs(shape)
    y = network(x, t)
    assert y.shape == (3, 3 * shape[0], *shape[1:])
    parts = y.chunk(3, dim=1)
    assert min((a - b).abs().max() for a, b in ((parts[0], parts[1]), (parts[1], parts[2]))) > 1e-3
    for part in parts:
        assert part.abs().max() > 1e-3
    # Silencing what the last layers say of one image's channels silences these channels and no others.
    last = network.network.out
    rows = last.weight.shape[0] // 3
    gates = [network.network.gate] if isinstance(network.network, FullyConnectedUNet) else []
    for place in range(3):
        silenced = copy.deepcopy(network)
        for layer, count in ((silenced.network.out, rows), *((silenced.network.gate, 1) for _ in gates)):
            with torch.no_grad():
                layer.weight[place * count : (place + 1) * count] = 0
                layer.bias[place * count : (place + 1) * count] = 0
            others = silenced(x, t).chunk(3, dim=1)
        for other in range(3):
            assert torch.equal(others[other], parts[other]) if other != place else (others[other] == 0).all()
