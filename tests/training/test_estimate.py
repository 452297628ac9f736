from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from unstir.data.dataset import Splits
from unstir.models.config import FrozenPart
from unstir.models.systems import ClassifierConfig
from unstir.recipes import RECIPES
from unstir.recipes.request import Request, smoke
from unstir.training.config import Config
from unstir.training.estimate import _saved_bytes, estimate, machine, parameter_count, synthetic
from unstir.training.learner import Learner
from unstir.training.settings import apply_settings
from unstir.training.start import with_data


def tiny(recipe: str, *settings: str) -> Config:
    made = RECIPES[recipe](Request())
    assert isinstance(made, Config)
    return apply_settings(smoke(made, own_data=False), ["training.batch=16", *settings])


def seen(config: Config, splits: Splits) -> Config:
    return with_data(config, splits.train, Path())


@pytest.mark.parametrize("recipe", ["digits", "mnist-fc", "cars64", "church64"])
def test_parameters_are_counted_without_making_them(recipe: str) -> None:
    config = seen(tiny(recipe), synthetic((3, 16, 16), 10)).model
    whole = sum(parameter.numel() for parameter in config.build({}).parameters())
    assert parameter_count(config) == whole > 0


def test_the_labels_the_data_has_count() -> None:
    counts = [
        parameter_count(seen(tiny("digits"), synthetic((1, 8, 8), classes)).model) for classes in (0, 10, 11)
    ]
    width = tiny("digits").model.network.vector  # type: ignore[attr-defined]
    assert counts[2] - counts[1] == width
    assert counts[1] - counts[0] == 11 * width  # one of them for a label that is hidden


@pytest.mark.parametrize("recipe", ["digits", "cars64"])
def test_activations_grow_with_the_batch_as_foretold(recipe: str) -> None:
    splits = synthetic((3, 32, 32), 10)
    config = seen(tiny(recipe), splits)
    found = estimate(config, splits, patience=0.01)
    measured = _saved_bytes(Learner(config, splits), 16)
    assert found.activation_bytes == pytest.approx(measured, rel=0.05)
    assert found.state_bytes == 20 * parameter_count(config.model)


def test_what_a_frozen_part_makes_is_reckoned_with() -> None:
    """Its own weights have neither gradients nor moments."""
    splits = synthetic((1, 8, 8), 10)
    encoder = ClassifierConfig().seeing(splits.train.shape, splits.train.facts())
    part = encoder.build({}).eval().requires_grad_(False)
    part_config = FrozenPart(path="encoder", model=encoder)
    config = tiny("digits", "told={seen: {kind: embedding, of: encoder}}")
    model = config.model.model_copy(update={"parts": {"encoder": part_config}})
    model = model.seeing(splits.train.shape, splits.train.facts())
    assert model.told["seen"].width == 64
    config = config.model_copy(update={"model": model})
    found = estimate(config, splits, {"encoder": part}, patience=0.01)
    assert found.state_bytes == 20 * parameter_count(model, {"encoder": part})
    assert found.state_bytes == 20 * sum(p.numel() for p in model.build({"encoder": part}).parameters())


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


def test_the_batch_is_cut_to_be_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a tenth of a second an image, a batch grows by fours while the next one takes half of the patience."""
    from unstir.training import estimate as module

    splits = synthetic((1, 8, 8), 10)
    config = seen(tiny("digits", "training.batch=100"), splits)
    clock = iter(range(1000))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(module, "_timed_step", lambda learner, batch: batch / 10)
    monkeypatch.setattr(module, "_saved_bytes", lambda learner, batch: 100 * batch + 7)
    for patience, batch in ((3.19, 4), (3.21, 16), (12.79, 16), (12.81, 64), (1000.0, 100)):
        found = estimate(config, splits, patience=patience)
        assert (found.measured_batch, found.images_per_second) == (batch, 10)
        assert found.activation_bytes == 100 * 100 + 7


def test_a_batch_that_no_memory_holds_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    from unstir.training import estimate as module

    def step(learner: object, batch: int) -> float:
        if batch > 20:
            raise torch.OutOfMemoryError
        return 1e-3

    monkeypatch.setattr(module, "_timed_step", step)
    monkeypatch.setattr(module, "_saved_bytes", lambda learner, batch: 100 * batch)
    splits = synthetic((1, 8, 8), 10)
    assert estimate(seen(tiny("digits", "training.batch=100"), splits), splits, patience=1.0).measured_batch == 16


def test_a_cpu_without_compiled_kernels_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, said in ((object(), False), (None, True)):
        monkeypatch.setattr("unstir.training.estimate.library", lambda found=found: found)
        monkeypatch.setattr("unstir.training.estimate.processes", _OnCpu)
        assert machine(tiny("digits"))[0].endswith(" without compiled kernels") == said


class _OnCpu:
    device, num_processes = torch.device("cpu"), 1
