from __future__ import annotations

import pytest
import torch
from torch import nn

from unstir.training.average import averaged_copy, copy_buffers, update_average


def _one(value: float) -> nn.Module:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def _update(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    update_average([*average.parameters()], [*model.parameters()], step, decay)


def test_it_equals_the_closed_form() -> None:
    values = [3.0, -1.0, 4.0, 1.5, 9.0]
    model, expected = _one(values[0]), values[0]
    average = averaged_copy(model)
    for n, value in enumerate(values, start=1):
        nn.init.constant_(model.weight, value)
        _update(average, model, n, decay=0.9999)
        decay = (1 + n) / (10 + n)  # 2/11 after the first step
        expected = decay * expected + (1 - decay) * value
    assert average.weight.item() == pytest.approx(expected, rel=1e-6)


def test_late_in_training_the_decay_is_the_given_one() -> None:
    model, average = _one(1.0), _one(0.0)
    _update(average, model, 100_000, decay=0.9)
    assert average.weight.item() == pytest.approx(0.1, rel=1e-5)
    _update(average, model, 80, decay=0.9)  # (1 + 80) / (10 + 80) = 0.9 too
    assert average.weight.item() == pytest.approx(0.19, rel=1e-5)
    _update(average, model, 35, decay=0.9)  # 0.8
    assert average.weight.item() == pytest.approx(1 - 0.81 * 0.8, rel=1e-5)


def test_constant_weights_are_a_fixed_point() -> None:
    model = nn.Conv2d(3, 4, 3)
    average = averaged_copy(model)
    for n in range(1, 50):
        _update(average, model, n, decay=0.99)
    assert torch.equal(average.weight, model.weight)


def test_an_average_has_no_gradients_and_is_evaluated() -> None:
    model = nn.BatchNorm2d(2)
    average = averaged_copy(model)
    assert not any(p.requires_grad for p in average.parameters())
    assert all(p.requires_grad for p in model.parameters())
    assert not average.training
    assert model.training


def test_buffers_are_copied_and_are_not_averaged() -> None:
    model = nn.BatchNorm2d(2)
    average = averaged_copy(model)
    model(torch.randn(8, 2, 3, 3) + 5)
    copy_buffers(average, model)
    assert model.running_mean.abs().min() > 0.1  # type: ignore[union-attr]
    assert torch.equal(average.running_mean, model.running_mean)
    assert torch.equal(average.num_batches_tracked, torch.tensor(1))
    model(torch.randn(8, 2, 3, 3))
    assert average.num_batches_tracked == 1  # a copy of the values, not of the tensor
