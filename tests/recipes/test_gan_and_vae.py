from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import unstir
from unstir.data.load import load
from unstir.models.systems import DenoiserConfig, LatentConfig
from unstir.recipes import RECIPES
from unstir.recipes.request import Request, smoke
from unstir.training.config import Config
from unstir.training.estimate import parameter_count
from unstir.training.loop import train


@pytest.fixture(autouse=True)
def cache(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNSTIR_CACHE", str(own_cache))


def parameters(name: str, seconds: float | None = None) -> int:
    config = RECIPES[name](Request(seconds=seconds))
    assert isinstance(config, Config)
    facts = {"label": {"kind": "classes", "classes": tuple("0123456789")}}
    return parameter_count(config.model.seeing((1, 28, 28), facts))


@pytest.mark.parametrize("name", ["mnist-vae", "mnist-gan"])
def test_they_have_about_the_parameters_of_the_small_network_of_the_recipe_mnist(name: str) -> None:
    assert 0.8 < parameters(name) / parameters("mnist", seconds=60) < 1.1


@pytest.mark.parametrize("name", ["mnist-vae", "mnist-gan"])
@pytest.mark.parametrize("told", [True, False])
def test_a_tiny_run_trains_is_loaded_and_draws(name: str, told: bool, tmp_path: Path) -> None:
    config = RECIPES[name](Request())
    assert isinstance(config, Config) and config.recipe == name and config.training.seconds == 600
    assert isinstance(config.model, LatentConfig) and not isinstance(config.model, DenoiserConfig)
    if not told:
        config = config.model_copy(update={"model": config.model.model_copy(update={"told": {}})})
    config = smoke(config, own_data=False)
    picture = train(config, tmp_path / "run", load(config.data), time.monotonic())
    assert picture is not None and picture.exists()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["images"] == 32
    assert any(key.startswith("validation_") for key in lines[-1])
    model = unstir.load(tmp_path / "run")
    assert model.config.drawing({}).evaluations == 1
    drawn = model.sample(20, seed=1)
    assert drawn.tensor.shape == (20, *model.config.samples.shape)
    assert (drawn.labels is not None) == told
    whole = np.asarray(drawn.tensor)
    parts = torch.cat([part.tensor for part in model.draw(range(20), seed=1, batch=7)])
    np.testing.assert_allclose(whole, parts.numpy(), atol=0.02)  # bfloat16 where the machine is fastest in it
