from __future__ import annotations

import math

import torch

from unstir.networks.embedding import Embedding, sinusoids


def test_sinusoids_by_hand() -> None:
    values = sinusoids(torch.tensor([0.0, 0.25]), 6)
    for row, t in enumerate((0.0, 0.25)):
        for i in range(3):
            angle = 1000 * t * 10_000 ** (-i / 3)
            assert math.isclose(values[row, i].item(), math.sin(angle), abs_tol=1e-4)
            assert math.isclose(values[row, 3 + i].item(), math.cos(angle), abs_tol=1e-4)


def test_neighbouring_steps_of_a_thousand_are_told_apart() -> None:
    values = sinusoids(torch.arange(1001) / 1000, 32)
    nearest = torch.cdist(values.double(), values.double()).fill_diagonal_(9).min()
    assert nearest > 0.1


def test_the_vector_is_added_to_the_time() -> None:
    embedding, vector = Embedding(64), torch.randn(2, 64)
    t = torch.tensor([0.3, 0.7])
    alone = embedding.mlp(sinusoids(t, 32))
    assert torch.equal(embedding(t), alone)
    assert torch.equal(embedding(t, vector), alone + vector)
