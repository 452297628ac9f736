from __future__ import annotations

import math

import torch

from unstir.diffusion import Condition
from unstir.networks.embedding import Embedding, label_index, sinusoids


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


def test_label_index() -> None:
    labels = torch.tensor([2, 0, 1])
    assert label_index(None, 3, 5).tolist() == [5, 5, 5]
    assert label_index(Condition(), 3, 5).tolist() == [5, 5, 5]
    assert label_index(Condition(vector=labels), 3, 5).tolist() == [2, 0, 1]
    assert label_index(Condition(vector=labels, hidden=torch.tensor([False, True, False])), 3, 5).tolist() == [
        2,
        5,
        1,
    ]


def test_the_label_is_added_to_the_time() -> None:
    embedding = Embedding(64, classes=3)
    t = torch.tensor([0.3, 0.7])
    assert embedding.label is not None
    both = embedding(t, Condition(vector=torch.tensor([1, 2])))
    torch.testing.assert_close(
        both - embedding(t, None), embedding.label.table.weight[[1, 2]] - embedding.label.table.weight[3]
    )
