"""What every model is: batches that are shared, what it is told, parts, and what computes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from unstir.diffusion import Condition, NoiseLevel
from unstir.diffusion.schedule import vp
from unstir.errors import InputError
from unstir.models.denoiser import DenoiserModel
from unstir.models.file import load, save
from unstir.models.model import Batch, Model, check_shape
from unstir.models.systems import ClassifierConfig
from unstir.networks.told import Told

SIZE = 16


@pytest.fixture
def batch() -> Batch:
    """All kinds of values that a step may need, each different in every row."""
    random = torch.Generator().manual_seed(0)
    told = {"label": torch.arange(SIZE), "size": torch.rand(SIZE, 2, generator=random)}
    condition = Condition.of(told).hide(["label"], torch.arange(SIZE) % 3 == 1)
    return Batch(
        x0=torch.rand(SIZE, 1, 2, 3, generator=random),
        condition=condition,
        level=vp()(torch.linspace(0.1, 0.9, SIZE)),
        weight=torch.rand(SIZE, generator=random),
    )


def _tensors(batch: Batch) -> dict[str, torch.Tensor]:
    """Return the tensors of a batch by name, whatever holds them."""
    found = {}
    for name, value in batch.items():
        if isinstance(value, Condition):
            for part, (told, hidden) in value.parts.items():
                found |= {f"{name}.{part}": told, f"{name}.{part}.hidden": hidden}
        elif isinstance(value, NoiseLevel):
            found |= {f"{name}.{part}": getattr(value, part) for part in ("t", "alpha", "sigma", "log_snr")}
        else:
            found[name] = value
    return found


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_shares_put_together_are_the_whole(count: int, batch: Batch) -> None:
    whole = _tensors(batch)
    assert len(whole) == 10
    shares = [_tensors(batch.share(rank, count)) for rank in range(count)]
    for name, tensor in whole.items():
        assert len(tensor) == SIZE
        together = torch.empty_like(tensor)
        for rank, share in enumerate(shares):
            assert share.keys() == whole.keys()
            assert len(share[name]) == len(range(rank, SIZE, count))
            together[rank::count] = share[name]
        assert torch.equal(together, tensor), name


def test_one_process_has_the_batch_itself(batch: Batch) -> None:
    assert batch.share(0, 1) is batch


def test_on_a_device_a_batch_keeps_every_name(batch: Batch) -> None:
    class Seen:
        def __init__(self) -> None:
            self.devices: list[torch.device] = []

        def to(self, device: torch.device) -> str:
            self.devices.append(device)
            return "moved"

    seen = Seen()
    batch["more"] = seen
    moved = batch.to(torch.device("meta"))
    assert isinstance(moved, Batch)
    assert moved.keys() == batch.keys()
    assert (moved["more"], seen.devices) == ("moved", [torch.device("meta")])
    assert moved["x0"].device.type == moved["weight"].device.type == "meta"
    assert {tensor.device.type for part in moved["condition"].parts.values() for tensor in part} == {"meta"}
    here = _tensors(
        Batch({name: value for name, value in batch.items() if name != "more"}).to(torch.device("cpu"))
    )
    batch.pop("more")
    assert all(torch.equal(here[name], tensor) for name, tensor in _tensors(batch).items())


def test_a_condition_takes_what_the_configuration_names(make_model: Callable[..., DenoiserModel]) -> None:
    model = make_model(told={"size": Told(kind="numbers", width=2)})
    values: dict[str, Any] = {"label": [1, 2], "size": torch.ones(2, 2), "caption": ["a", "b"]}
    condition = model.condition(values)
    assert condition is not None
    assert {*condition.names} == {"label", "size"}
    assert condition.parts["label"][0].tolist() == [1, 2]
    assert not any(hidden.any() for _, hidden in condition.parts.values())
    only = model.condition({"size": torch.ones(2, 2)})
    assert only is not None and only.names == ("size",)
    assert model.condition({"caption": ["a"]}) is None
    assert make_model(classes=0).condition(values) is None


def test_samples_of_another_shape_are_refused(make_model: Callable[..., DenoiserModel]) -> None:
    model = make_model()
    check_shape(model, torch.zeros(5, 1, 9, 12))
    with pytest.raises(InputError, match="The model's samples are 1x9x12, and these are 3x9x12"):
        check_shape(model, torch.zeros(5, 3, 9, 12))


@pytest.fixture
def with_part(make_model: Callable[..., DenoiserModel]) -> tuple[Model, Model]:
    """A model and a frozen part of it."""
    config = ClassifierConfig(labels=("a", "b")).seeing(
        (1, 9, 12), {"label": {"kind": "classes", "classes": "ab"}}
    )
    part = config.build({}).eval().requires_grad_(False)
    own = make_model().config
    return own.build({"encoder": part}), part


def test_parts_are_no_part_of_the_weights_and_copies_share_them(with_part: tuple[Model, Model]) -> None:
    model, part = with_part
    assert model.state_dict().keys() == model.config.build({}).state_dict().keys()
    own = {id(parameter) for parameter in model.parameters()}
    assert not own & {id(parameter) for parameter in part.parameters()}
    copied = copy.deepcopy(model)
    assert copied.parts["encoder"] is part
    assert next(copied.parameters()) is not next(model.parameters())
    model.train()
    assert not part.training
    assert model.device == torch.device("cpu")
    assert "anchor" not in model.state_dict()


def test_in_float32_the_model_itself_computes(make_model: Callable[..., DenoiserModel]) -> None:
    model = make_model()
    assert model.lowered() is model
    with model.in_precision:
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_lowered_copies_hold_ordinary_tensors_and_share_what_is_not_converted(
    make_model: Callable[..., DenoiserModel],
) -> None:
    model = make_model("unet", "bf16")
    with torch.no_grad():
        lowered = model.lowered()
    assert lowered is not model
    heavy = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    seen = set()
    for layer, other in zip(lowered.modules(), model.modules(), strict=True):
        tensors = (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
        for low, high in zip(
            tensors, (*other.parameters(recurse=False), *other.buffers(recurse=False)), strict=True
        ):
            assert not low.is_inference()
            converted = isinstance(layer, heavy)
            seen.add(converted)
            assert (low is high) == (not converted)
            assert low.dtype == (torch.bfloat16 if converted else torch.float32)
            assert torch.equal(low, high.to(low.dtype))
    assert seen == {False, True}
    with lowered.in_precision:
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert lowered.schedule is not None
    assert lowered.config is model.config or lowered.config == model.config


@pytest.mark.parametrize("loaded", [False, True])
def test_the_copy_that_draws_can_be_differentiated(
    loaded: bool, make_model: Callable[..., DenoiserModel], tmp_path: Path
) -> None:
    """Also after images were drawn, where nothing was to be differentiated."""
    model = make_model("unet", "bf16")
    if loaded:
        save(tmp_path / "model.safetensors", model)
        model = load(tmp_path)  # type: ignore[assignment]
    with torch.inference_mode():
        model.sample(2, steps=2)
    lowered = model.lowered()
    assert (model.lowered() is lowered) == loaded  # it is made once where weights do not change any more
    assert not any(tensor.is_inference() for tensor in lowered.parameters())
    x = torch.randn(2, 1, 9, 12, requires_grad=True)
    with lowered.in_precision:
        lowered.denoiser(x, model.schedule(0.5)).x0.sum().backward()
    assert x.grad is not None and x.grad.abs().min() > 0
