from __future__ import annotations

import torch
from torch import nn

from unstir.diffusion import Condition
from unstir.models.latent import Conditioned
from unstir.networks.told import Told


class Sum(nn.Module):
    def forward(self, x: torch.Tensor, vector: torch.Tensor | None) -> torch.Tensor:
        return x.sum(1) if vector is None else x.sum(1) + vector.sum(1)


def test_a_network_gets_the_vector_of_what_is_told() -> None:
    torch.manual_seed(0)
    told = {"label": Told(kind="classes", classes=("a", "b")), "age": Told(kind="numbers", width=1)}
    network = Conditioned(Sum(), told, 3)
    assert network.conditioner is not None
    x, condition = (
        torch.randn(2, 5),
        Condition.of({"label": torch.tensor([1, 0]), "age": torch.tensor([[2.0], [3]])}),
    )
    vector = network.conditioner(condition, x).vector
    torch.testing.assert_close(network(x, condition), x.sum(1) + vector.sum(1))
    hidden = network.conditioner(None, x).vector
    torch.testing.assert_close(network(x), x.sum(1) + hidden.sum(1))
    assert not torch.allclose(vector, hidden)


def test_a_network_that_is_told_nothing_gets_no_vector() -> None:
    x = torch.randn(2, 5)
    torch.testing.assert_close(Conditioned(Sum(), {}, 3)(x), x.sum(1))
