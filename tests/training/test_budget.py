from __future__ import annotations

import time

import pytest

from unstir.training.budget import Budget
from unstir.training.config import TrainingConfig


def _budget(**values: object) -> Budget:
    return Budget(TrainingConfig(**{"images": 1000, "learning_rate": 0.5, **values}), began=time.monotonic())  # type: ignore[arg-type]


def test_the_learning_rate_rises_stays_and_falls() -> None:
    budget = _budget(warmup=10, decay=0.4)
    assert budget.learning_rate(1, 0.0) == pytest.approx(0.05)
    assert budget.learning_rate(5, 0.0) == pytest.approx(0.25)
    assert budget.learning_rate(10, 0.0) == 0.5
    assert budget.learning_rate(10_000, 0.6) == 0.5
    assert budget.learning_rate(10_000, 0.7) == pytest.approx(0.375)
    assert budget.learning_rate(10_000, 0.9) == pytest.approx(0.125)
    assert budget.learning_rate(10_000, 1.0) == 0


def test_a_long_warmup_ends_after_a_twentieth_of_the_budget() -> None:
    budget = _budget(warmup=1_000_000, decay=0.0)
    assert budget.learning_rate(1, 0.025) == pytest.approx(0.25)
    assert budget.learning_rate(1, 0.05) == 0.5
    assert budget.learning_rate(1, 1.0) == 0.5


def test_no_warmup_starts_at_the_full_rate() -> None:
    assert _budget(warmup=0).learning_rate(1, 0.0) == 0.5


def test_progress_in_images() -> None:
    budget = _budget(images=200)
    assert [budget.progress(n) for n in (0, 50, 200, 300)] == [0, 0.25, 1, 1]


def test_progress_in_seconds_counts_carried_time_and_leaves_a_reserve() -> None:
    began = time.monotonic() - 10
    budget = Budget(TrainingConfig(seconds=100), began, carried=30)
    assert budget.elapsed == pytest.approx(40, abs=0.5)
    assert budget.progress(10**9) == pytest.approx(40 / 97, abs=0.01)
    budget.reserve = 20
    assert budget.progress(0) == pytest.approx(0.5, abs=0.01)
    budget.carried = 80
    assert budget.progress(0) == 1
