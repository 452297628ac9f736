"""What every network must do, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from unstir.diffusion import Condition

Make = Callable[..., nn.Module]
SHAPES = [(1, 28, 28), (3, 20, 36), (4, 97, 61), (7, 5, 3)]


def _inputs(shape: tuple[int, ...], batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, *shape, generator=generator), torch.linspace(0.1, 0.9, batch)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_parameter_learns_at_any_shape(make: Make, shape: tuple[int, int, int]) -> None:
    network = make(shape, classes=3).train()
    x, t = _inputs(shape, 4)
    labels = Condition(vector=torch.tensor([0, 1, 2, 0]), hidden=torch.tensor([False, False, False, True]))
    y = network(x, t, labels)
    assert y.shape == x.shape
    (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-7]
    assert not dead
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_label_table_rows_each_learn(make: Make) -> None:
    network = make((1, 8, 8), classes=3).train()
    tables = [m for m in network.modules() if isinstance(m, nn.Embedding)]
    x, t = _inputs((1, 8, 8), 4)
    labels = Condition(vector=torch.tensor([0, 1, 2, 0]), hidden=torch.tensor([False, False, False, True]))
    network(x, t, labels).square().sum().backward()
    for table in tables:
        assert table.weight.shape[0] == 4
        assert (table.weight.grad.abs().sum(1) > 0).all()


def test_the_time_matters(make: Make) -> None:
    network = make((1, 8, 8)).eval()
    x, _ = _inputs((1, 8, 8), 2)
    a, b = network(x, torch.tensor([0.2, 0.2])), network(x, torch.tensor([0.2, 0.21]))
    assert torch.equal(a[0], b[0]) or torch.allclose(a[0], b[0], atol=1e-6)
    assert (a[1] - b[1]).abs().max() > 1e-4


def test_labels_matter_and_hidden_ones_are_no_labels(make: Make) -> None:
    network = make((1, 8, 8), classes=3).eval()
    x, t = _inputs((1, 8, 8), 3)
    labels = torch.tensor([0, 1, 2])
    shown, none = network(x, t, Condition(vector=labels)), network(x, t, None)
    other = network(x, t, Condition(vector=(labels + 1) % 3))
    assert ((shown - none).abs().amax((1, 2, 3)) > 1e-3).all()
    assert ((shown - other).abs().amax((1, 2, 3)) > 1e-3).all()
    assert torch.equal(network(x, t, Condition(vector=labels).hide()), none)
    part = network(x, t, Condition(vector=labels, hidden=torch.tensor([False, True, False])))
    assert torch.equal(part, torch.stack([shown[0], none[1], shown[2]]))


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 13, 9)], ids=str)
def test_an_image_does_not_depend_on_its_neighbours(make: Make, shape: tuple[int, int, int]) -> None:
    network = make(shape, classes=3).eval()
    x, t = _inputs(shape, 5)
    labels = torch.tensor([0, 1, 2, 0, 1])
    whole = network(x, t, Condition(vector=labels))
    mixed = torch.cat([x[:1], 100 * torch.randn(4, *shape)])
    assert torch.equal(network(mixed, t, Condition(vector=labels))[0], whole[0])
    for i in range(5):
        alone = network(x[i : i + 1], t[i : i + 1], Condition(vector=labels[i : i + 1]))
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
    # Its own pixel moves each output most, if any does: none is an image shuffled among the others' channels.
    network.zero_grad()
    for part in parts:
        assert part.abs().max() > 1e-3
