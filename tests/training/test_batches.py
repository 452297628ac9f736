from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData, Splits
from unstir.data.order import order
from unstir.diffusion import Condition, NoiseLevel
from unstir.diffusion.config import DiffusionConfig, ScheduleConfig
from unstir.models.model import Batch, Model
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import FullyConnectedConfig
from unstir.networks.told import Told
from unstir.training.batches import first_images, step_seed, training_batch
from unstir.training.config import Config, TrainingConfig


@pytest.fixture(scope="module")
def data() -> ImageData:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (50, 2, 3, 5), dtype=np.uint8)
    return ImageData.from_array(pixels, np.arange(50) % 7, tuple("abcdefg"))


@pytest.fixture(scope="module")
def model(data: ImageData) -> Model:
    config = DenoiserConfig(
        told={"label": Told(kind="classes", dropout=0.3)},
        network=FullyConnectedConfig(widths=(8,)),
        diffusion=DiffusionConfig(schedule=ScheduleConfig(name="linear")),
    )
    return config.seeing(data.shape, data.facts()).build({})


def _batch(model: Model, data: ImageData, **options: Any) -> Batch:
    return training_batch(model, data, **{"seed": 1, "step": 3, "size": 16, **options})


def _tensors(value: Any) -> list[torch.Tensor]:
    """Return the tensors of a batch, whatever holds them."""
    if isinstance(value, dict):
        return [tensor for name in sorted(value) for tensor in _tensors(value[name])]
    if isinstance(value, Condition):
        return [tensor for name in sorted(value.names) for tensor in value.parts[name]]
    if isinstance(value, NoiseLevel):
        return [value.t, value.alpha, value.sigma]
    return [value]


def test_a_batch_is_a_pure_function_of_seed_and_step(model: Model, data: ImageData) -> None:
    first = _batch(model, data, flip=True)
    assert sorted(first) == ["condition", "eps", "level", "x0"]
    torch.manual_seed(7)
    torch.rand(3)
    np.random.seed(5)
    again = _batch(model, data, flip=True)
    assert len(_tensors(first)) == 7
    assert all(torch.equal(x, y) for x, y in zip(_tensors(first), _tensors(again), strict=True))
    for other in (_batch(model, data, flip=True, step=4), _batch(model, data, flip=True, seed=2)):
        assert not torch.equal(other["eps"], first["eps"])
        assert not torch.equal(other["x0"], first["x0"])
        assert not torch.equal(other["level"].t, first["level"].t)
        hidden = [batch["condition"].parts["label"][1] for batch in (other, first)]
        assert not torch.equal(*hidden)


def test_neighbouring_steps_and_seeds_have_unrelated_seeds() -> None:
    seeds = {step_seed(seed, step) for seed in range(30) for step in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_images_follow_the_stream_without_gap_or_repeat(model: Model, data: ImageData) -> None:
    steps = torch.cat([_batch(model, data, step=step, size=10)["x0"] for step in range(5)])
    whole = torch.from_numpy(data.pixels[order(50, 1, 0, 50)]).float() / 127.5 - 1
    torch.testing.assert_close(steps, whole)


def test_what_is_told_belongs_to_its_image(model: Model, data: ImageData) -> None:
    labels, _ = _batch(model, data)["condition"].parts["label"]
    indices = order(50, 1, 3 * 16, 16)
    assert labels.tolist() == data.labels[indices].tolist()  # type: ignore[index]


def test_flips_only_when_asked_and_about_half(model: Model, data: ImageData) -> None:
    straight = _batch(model, data, size=1000)["x0"]
    flipped = _batch(model, data, size=1000, flip=True)["x0"]
    mirrored = (flipped == straight.flip(-1)).flatten(1).all(1)
    same = (flipped == straight).flatten(1).all(1)
    assert (mirrored | same).all()
    assert 0.45 < mirrored.float().mean() < 0.55
    indices = order(50, 1, 3000, 1000)
    assert torch.equal(straight, data.examples(indices)[0])


@pytest.mark.parametrize("size", [4, 9, 16])
def test_the_first_images_are_those_of_the_first_batches(data: ImageData, model: Model, size: int) -> None:
    train = Splits(data, data).augmented(0.5).train
    config = Config(
        recipe="x",
        seed=1,
        data=DataConfig(source="x", flip=True),
        training=TrainingConfig(images=100, batch=size),
        model=model.config.model_copy(update={"told": {}}),
    ).seeing(train.shape, train.facts(), "")
    told = config.model.build({})
    steps = [_batch(told, train, step=step, size=size, flip=True)["x0"] for step in range(3)]
    assert torch.equal(first_images(config, train, 9), torch.cat(steps)[:9])
    plain = config.model_copy(update={"data": DataConfig(source="x")})
    assert not torch.equal(first_images(plain, train, 9), first_images(config, train, 9))
