from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from unstir.data.dataset import ImageData
from unstir.data.order import order
from unstir.diffusion import GridSchedule
from unstir.diffusion.schedule import cosine, ladder, linear, vp
from unstir.diffusion.times import time_distributions
from unstir.training.batches import Batch, levels_at, step_seed, training_batch

UNIFORM = time_distributions["uniform"]


@pytest.fixture(scope="module")
def data() -> ImageData:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (50, 2, 3, 5), dtype=np.uint8)
    return ImageData.from_array(pixels, np.arange(50) % 7, tuple("abcdefg"))


def _batch(data: ImageData, **options: Any) -> Batch:
    values: dict[str, Any] = {"seed": 1, "step": 3, "size": 16, "conditional": True, "label_dropout": 0.3}
    return training_batch(data, linear(), UNIFORM, **{**values, **options})


def _equal(a: Batch, b: Batch) -> bool:
    parts = [
        (a.x0, b.x0),
        (a.eps, b.eps),
        (a.level.t, b.level.t),
        (a.condition.vector, b.condition.vector),
        (a.condition.hidden, b.condition.hidden),
    ]
    return all(torch.equal(x, y) for x, y in parts)


def test_a_batch_is_a_pure_function_of_seed_and_step(data: ImageData) -> None:
    first = _batch(data, flip=True)
    torch.manual_seed(7)
    torch.rand(3)
    np.random.seed(5)
    assert _equal(_batch(data, flip=True), first)
    for other in (_batch(data, flip=True, step=4), _batch(data, flip=True, seed=2)):
        assert not torch.equal(other.eps, first.eps)
        assert not torch.equal(other.x0, first.x0)
        assert not torch.equal(other.level.t, first.level.t)


def test_neighbouring_steps_and_seeds_have_unrelated_seeds() -> None:
    seeds = {step_seed(seed, step) for seed in range(30) for step in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_images_follow_the_stream_without_gap_or_repeat(data: ImageData) -> None:
    steps = torch.cat([_batch(data, step=step, size=10).x0 for step in range(5)])
    whole = torch.from_numpy(data.pixels[order(50, 1, 0, 50)]).float() / 127.5 - 1
    torch.testing.assert_close(steps, whole)


def test_labels_belong_to_their_images(data: ImageData) -> None:
    batch = _batch(data)
    indices = order(50, 1, 3 * 16, 16)
    assert batch.condition is not None
    assert batch.condition.vector is not None
    assert batch.condition.vector.tolist() == data.labels[indices].tolist()  # type: ignore[index]


def test_flips_only_when_asked_and_about_half(data: ImageData) -> None:
    straight, flipped = _batch(data, size=1000), _batch(data, size=1000, flip=True)
    mirrored = (flipped.x0 == straight.x0.flip(-1)).flatten(1).all(1)
    same = (flipped.x0 == straight.x0).flatten(1).all(1)
    assert (mirrored | same).all()
    assert 0.45 < mirrored.float().mean() < 0.55
    indices = order(50, 1, 3000, 1000)
    assert torch.equal(straight.x0, data.batch(indices)[0])


@pytest.mark.parametrize("p", [0.0, 0.1, 1.0])
def test_labels_are_hidden_as_often_as_asked(data: ImageData, p: float) -> None:
    condition = _batch(data, size=4000, label_dropout=p).condition
    assert condition is not None
    assert condition.hidden is not None
    assert condition.hidden.float().mean().item() == pytest.approx(p, abs=0.02 if 0 < p < 1 else 0)


def test_an_unconditional_run_sees_no_labels(data: ImageData) -> None:
    assert _batch(data, conditional=False).condition is None


@pytest.mark.parametrize("count", [2, 3])
def test_the_shares_make_up_the_whole(data: ImageData, count: int) -> None:
    whole = _batch(data)
    shares = [whole.share(rank, count) for rank in range(count)]
    assert sum(len(share.x0) for share in shares) == 16
    for rank, share in enumerate(shares):
        part = slice(rank, None, count)
        assert torch.equal(share.x0, whole.x0[part])
        assert torch.equal(share.eps, whole.eps[part])
        assert torch.equal(share.level.t, whole.level.t[part])
        assert torch.equal(share.level.alpha, whole.level.alpha[part])
        assert torch.equal(share.level.sigma, whole.level.sigma[part])
        assert share.condition is not None
        assert whole.condition is not None
        assert torch.equal(share.condition.vector, whole.condition.vector[part])  # type: ignore[arg-type,index]
        assert torch.equal(share.condition.hidden, whole.condition.hidden[part])  # type: ignore[arg-type,index]
    assert whole.share(0, 1) is whole


def test_times_are_stratified(data: ImageData) -> None:
    schedule = vp()
    for step in range(5):
        t = training_batch(data, schedule, UNIFORM, seed=0, step=step, size=64).level.t
        u = (t - schedule.t_min) / (1 - schedule.t_min)
        assert (u * 64).floor().long().tolist() == list(range(64))


def test_each_share_sees_all_times(data: ImageData) -> None:
    t = training_batch(data, vp(), UNIFORM, seed=0, step=0, size=64).share(1, 2).level.t
    assert t.min() < 0.05
    assert t.max() > 0.95


@pytest.mark.parametrize("schedule", [cosine(37), ladder(37)], ids=["cosine", "ladder"])
@pytest.mark.parametrize("times", sorted(time_distributions))
def test_discrete_levels_are_exact_grid_points(data: ImageData, times: str, schedule: GridSchedule) -> None:
    batch = training_batch(data, schedule, time_distributions[times], seed=0, step=0, size=500)
    n = (batch.level.t * 37).round().long()
    assert n.min() >= 1
    assert n.max() <= 37
    exact = schedule.level(n)
    assert torch.equal(batch.level.t, exact.t)
    assert torch.equal(batch.level.alpha, exact.alpha)
    assert torch.equal(batch.level.sigma, exact.sigma)
    if times == "uniform":
        assert torch.bincount(n, minlength=38)[1:].min() >= 12  # 500 / 37 = 13.5 of each, stratified


def test_continuous_levels_are_the_schedules() -> None:
    t = torch.tensor([0.1, 0.77], dtype=torch.float64)
    assert torch.equal(levels_at(vp(), t).alpha, vp()(t).alpha)
