from __future__ import annotations

import pytest
import torch

from unstir.recipes import RECIPES
from unstir.recipes.request import Request, smoke
from unstir.training.build import build_denoiser
from unstir.training.config import Config
from unstir.training.estimate import PROBES, _saved_bytes, estimate, machine, parameter_count, synthetic
from unstir.training.learner import Learner
from unstir.training.start import with_images


def tiny(recipe: str) -> Config:
    config = smoke(RECIPES[recipe](Request()), own_data=False)
    training = config.training.model_copy(update={"batch": 16})
    return config.model_copy(update={"training": training})


@pytest.mark.parametrize("recipe", ["digits", "mnist-fc", "cars64", "church64"])
def test_parameters_are_counted_without_making_them(recipe: str) -> None:
    config = with_images(tiny(recipe), synthetic((3, 16, 16), 10).train)
    whole = sum(parameter.numel() for parameter in build_denoiser(config).parameters())
    assert parameter_count(config) == whole > 0


@pytest.mark.parametrize("recipe", ["digits", "cars64"])
def test_activations_grow_with_the_batch_as_foretold(recipe: str) -> None:
    config, splits = tiny(recipe), synthetic((3, 32, 32), 10)
    found = estimate(config, splits, patience=0.01)
    measured = _saved_bytes(Learner(with_images(config, splits.train), splits), 16)
    assert found.activation_bytes == pytest.approx(measured, rel=0.05)
    assert found.state_bytes == 20 * parameter_count(with_images(config, splits.train))


def test_what_one_layer_keeps() -> None:
    """A linear layer and its square keep the input and the output, in float32: 2 * 4 bytes a number."""
    weight = torch.nn.Linear(64, 64, bias=False)

    class Stub:
        model = wrapped = weight

    stub = Stub()

    def step(learner: object, batch: int) -> float:
        weight(torch.zeros(batch, 64, requires_grad=True)).square().sum().backward()
        return 0.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unstir.training.estimate._timed_step", step)
        assert _saved_bytes(stub, 5) == 2 * 4 * 5 * 64  # type: ignore[arg-type]


def test_the_batch_is_cut_to_be_quick() -> None:
    config, splits = tiny("digits"), synthetic((1, 8, 8), 10)
    assert estimate(config, splits, patience=1e-9).measured_batch == PROBES[-1]
    assert estimate(config, splits, patience=2.0).measured_batch == 16


def test_a_cpu_without_compiled_kernels_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, said in ((object(), False), (None, True)):
        monkeypatch.setattr("unstir.training.estimate.library", lambda found=found: found)
        monkeypatch.setattr("unstir.training.estimate.PartialState", _OnCpu)
        assert machine(tiny("digits"))[0].endswith(" without compiled kernels") == said


class _OnCpu:
    device, num_processes = torch.device("cpu"), 1
