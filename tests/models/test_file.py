"""A model file: one file is a model, with its parts beside it or in it; what it holds, and when it is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import unstir
from unstir.errors import InputError
from unstir.models.config import FrozenPart
from unstir.models.denoiser import DenoiserModel
from unstir.models.file import (
    load,
    load_parts,
    locate,
    read_config,
    relative,
    save,
    write,
)
from unstir.models.model import Model
from unstir.models.systems import ClassifierConfig
from unstir.networks.told import Told
from unstir.tensors import read_about, read_tensors, write_tensors

MakeModel = Callable[..., DenoiserModel]


@pytest.fixture
def model(make_model: MakeModel) -> DenoiserModel:
    return make_model()


@pytest.fixture
def path(model: DenoiserModel, tmp_path: Path) -> Path:
    """A file of the model."""
    save(tmp_path / "model.safetensors", model)
    return tmp_path / "model.safetensors"


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    return read_tensors(path)[1]


def _rewrite(path: Path, **values: object) -> None:
    """Change a file's configuration as if it had been written so."""
    told = read_about(path).told
    write_tensors(path, _tensors(path), {"model": told["model"] | values})


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


# One file is a model


def test_a_file_is_the_model(model: DenoiserModel, path: Path) -> None:
    again = load(path)
    assert again.config == model.config
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    torch.testing.assert_close(again.sample(2).tensor, model.sample(2).tensor)
    assert unstir.load is load
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert read_config(path) == read_config(path.parent) == (path, model.config)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_file_names_its_model_and_nothing_of_its_training(model: DenoiserModel, path: Path) -> None:
    told = read_about(path).told
    assert told.keys() == {"model"}
    values = told["model"]
    assert values.keys() == {
        "kind",
        "samples",
        "told",
        "parts",
        "precision",
        "network",
        "diffusion",
        "sampling",
    }
    of_a_run = {"recipe", "note", "seed", "data", "source", "training", "images", "seconds", "batch", "optimizer"}
    of_a_run |= {"learning_rate", "weight_decay", "ema", "warmup", "fingerprint", "flip", "log_every", "betas"}
    assert not of_a_run & {*_keys(values)}
    assert values["samples"] == {"shape": [1, 9, 12], "bounded": True}
    assert values["told"]["label"]["classes"] == ["a", "b", "c"]
    assert _tensors(path).keys() == model.state_dict().keys()


def test_a_configuration_of_ones_own_is_written(model: DenoiserModel, path: Path) -> None:
    other = model.config.model_copy(update={"precision": "bf16"})
    save(path, model, other)
    assert load(path).config == other


def test_a_folder_is_its_models_and_a_plans_its_last_stages(path: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan"
    for stage in ("first", "last"):
        (plan / stage).mkdir(parents=True)
    (plan / "plan.yaml").write_text(yaml.safe_dump({"first": "x", "last": "x"}, sort_keys=False))
    shutil.copy(path, plan / "first" / "model.safetensors")
    (plan / "last" / "config.yaml").write_text("")
    with pytest.raises(InputError, match=r"last has no model\.safetensors yet: training has not reached"):
        locate(plan)
    shutil.copy(path, plan / "last" / "model.safetensors")
    assert locate(plan) == plan / "last" / "model.safetensors"
    for text in ("", "[", "7", "\x00"):
        (plan / "plan.yaml").write_text(text)
        with pytest.raises(InputError, match=r"plan\.yaml cannot be read"):
            locate(plan)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no run folder or model file at .*nothing"):
        read_config(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"is no run folder: it has no model\.safetensors"):
        load(tmp_path)


# Refused


def test_what_holds_no_model_is_told(path: Path) -> None:
    for told in ({}, {"model": None}, {"model": [1]}, {"position": {"step": 3}}):
        write_tensors(path, {"a": torch.zeros(3)}, told)
        for ask in (read_config, load):
            with pytest.raises(InputError, match=r"model\.safetensors holds no model"):
                ask(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_told(value: float, path: Path) -> None:
    tensors = _tensors(path)
    name = max(tensors)
    tensors[name].view(-1)[-1] = value
    write_tensors(path, tensors, read_about(path).told)
    with pytest.raises(InputError, match=f"cannot be used: not all of its {name} are finite numbers; train"):
        load(path)


@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_weights_that_do_not_fit_are_told(change: str, path: Path) -> None:
    tensors = _tensors(path)
    name = max(tensors)
    if change == "surplus":
        tensors["more"] = torch.zeros(3)
    else:
        tensors[name] = torch.zeros(7, 7)
    if change == "missing":
        del tensors[name]
    write_tensors(path, tensors, read_about(path).told)
    with pytest.raises(InputError, match="is damaged: its weights do not fit its configuration"):
        load(path)


@pytest.mark.parametrize("kind", ["denoizer", None, 7, ["denoiser"]])
def test_an_unknown_system_is_told(kind: object, path: Path) -> None:
    _rewrite(path, kind=kind)
    for ask in (read_config, load):
        with pytest.raises(InputError, match=r"holds a model that this unstir does not know: no system is called"):
            ask(path)


def test_a_wrong_configuration_is_told(path: Path) -> None:
    _rewrite(path, precision="int8")
    with pytest.raises(InputError, match=r"model\.safetensors holds a model .* precision cannot be 'int8'"):
        read_config(path)


def test_weights_that_do_not_fit_the_configuration_are_told_in_one_sentence(
    model: DenoiserModel, path: Path
) -> None:
    weights = dict(model.state_dict())
    for change in ("missing", "surplus", "shape"):
        held = dict(weights)
        name = next(iter(held))
        if change == "missing":
            del held[name]
        else:
            held[name if change == "shape" else "more"] = torch.zeros(2, 2)
        write(path, model.config, held)
        with pytest.raises(InputError, match="is damaged: its weights do not fit its configuration") as told:
            load(path)
        assert "\n" not in str(told.value)


# Parts


def _encoder(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    config = ClassifierConfig(labels=("a", "b"))
    return config.model_copy(update={"samples": config.samples.model_copy(update={"shape": (1, 9, 12)})}).build({})


@pytest.fixture
def runs(make_model: MakeModel, tmp_path: Path) -> Path:
    """A folder of two runs: an encoder, and a model that is told what it sees in images."""
    folder = tmp_path / "runs"
    encoder = _encoder()
    save(folder / "encoder" / "model.safetensors", encoder)
    noted = read_about(folder / "encoder" / "model.safetensors").hash
    part = FrozenPart(path=relative(folder / "encoder", folder / "drawing"), hash=noted, model=encoder.config)
    told = {"seen": Told(kind="embedding", of="encoder", width=64, dropout=0.1)}
    own = make_model().config.model_copy(update={"told": told, "parts": {"encoder": part}})
    torch.manual_seed(1)
    model = own.build({"encoder": encoder})
    for parameter in model.parameters():
        if not parameter.any():  # or it would draw the same whatever it holds
            torch.nn.init.normal_(parameter, std=0.1)
    save(folder / "drawing" / "model.safetensors", model)
    return folder


IMAGES = torch.rand(5, 1, 9, 12, generator=torch.Generator().manual_seed(2)) * 2 - 1


def _seen(model: Model) -> torch.Tensor:
    """Return what a model's part makes of images, through the model's own training."""
    batch = model.eval().prepare((IMAGES, {}), torch.Generator().manual_seed(0))
    return batch["condition"].parts["seen"][0]


def test_a_part_is_loaded_with_its_model_and_ready(runs: Path) -> None:
    model = load(runs / "drawing")
    part = model.parts["encoder"]
    assert part.config == model.config.parts["encoder"].model
    assert not part.training and not any(p.requires_grad for p in part.parameters())
    torch.testing.assert_close(_seen(model), _encoder().eval().embed(IMAGES).float())  # type: ignore[operator]
    assert not [key for key in _tensors(runs / "drawing" / "model.safetensors") if "parts" in key]


def test_paths_are_relative_beside_the_run_and_whole_elsewhere(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "drawing"
    assert relative(tmp_path / "runs" / "encoder", out) == "../encoder"
    assert relative(tmp_path / "runs" / "plan" / "encoder", out) == "../plan/encoder"
    assert relative(out / "encoder.safetensors", out) == "encoder.safetensors"
    assert relative(tmp_path / "encoder", out) == str(tmp_path / "encoder")
    assert relative(Path("runs/encoder"), Path("runs/drawing")) == "../encoder"


def test_moved_together_a_run_finds_its_part(runs: Path, tmp_path: Path) -> None:
    before = _seen(load(runs / "drawing"))
    moved = tmp_path / "elsewhere" / "kept"
    moved.parent.mkdir()
    runs.rename(moved)
    torch.testing.assert_close(_seen(load(moved / "drawing")), before)
    torch.testing.assert_close(_seen(load(moved / "drawing" / "model.safetensors")), before)


def test_a_missing_part_is_told(runs: Path) -> None:
    shutil.rmtree(runs / "encoder")
    words = "The part 'encoder' of the model cannot be used: There is no run folder"
    for ask in (read_config, load):
        with pytest.raises(InputError, match=words):
            ask(runs / "drawing")


def test_a_part_that_changed_is_told(runs: Path) -> None:
    save(runs / "encoder" / "model.safetensors", _encoder(seed=7))
    for ask in (read_config, load):
        with pytest.raises(InputError, match=r"The part 'encoder' of the model, .*encoder, has changed since"):
            ask(runs / "drawing")


def test_a_part_whose_file_is_damaged_is_told(runs: Path) -> None:
    path = runs / "encoder" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"encoder/model\.safetensors is damaged"):
        load(runs / "drawing")


def test_a_whole_file_needs_no_other(runs: Path, tmp_path: Path) -> None:
    model, whole = load(runs / "drawing"), tmp_path / "alone" / "whole.safetensors"
    before, drawn = _seen(model), model.sample(3, steps=3).tensor  # type: ignore[operator]
    save(whole, model, whole=True)
    inside = {key for key in _tensors(whole) if key.startswith("parts.encoder.")}
    assert inside == {f"parts.encoder.{key}" for key in _encoder().state_dict()}
    shutil.rmtree(runs)
    assert read_config(whole)[1].parts["encoder"].model == model.parts["encoder"].config
    again = load(whole)
    assert torch.equal(_seen(again), before)
    assert torch.equal(again.sample(3, steps=3).tensor, drawn)  # type: ignore[operator]
    assert again.parts["encoder"].config == model.parts["encoder"].config
    save(tmp_path / "again.safetensors", again, whole=True)
    assert (tmp_path / "again.safetensors").read_bytes() == whole.read_bytes()


def test_parts_of_parts_are_inlined_too(runs: Path, make_model: MakeModel, tmp_path: Path) -> None:
    inner = load(runs / "drawing")
    part = FrozenPart(
        path="drawing",
        hash=read_about(runs / "drawing" / "model.safetensors").hash,
        model=inner.config,
    )
    config = make_model().config.model_copy(update={"parts": {"teacher": part}})
    outer, whole = config.build({"teacher": inner}), tmp_path / "whole.safetensors"
    save(whole, outer, whole=True)
    save(runs / "outer.safetensors", outer)
    before = _seen(load(runs / "outer.safetensors").parts["teacher"])
    shutil.rmtree(runs)
    assert torch.equal(_seen(load(whole).parts["teacher"]), before)
    names = {key.rsplit(".", 2)[0] for key in _tensors(whole)}
    assert any(name.startswith("parts.teacher.parts.encoder.body") for name in names)


def test_parts_are_loaded_by_name(runs: Path) -> None:
    config = load(runs / "drawing").config
    (name,) = found = load_parts(config.parts, runs / "drawing")
    assert name == "encoder" and isinstance(found[name], Model)
    absolute = FrozenPart(path=str(runs / "encoder"))
    assert load_parts({"x": absolute}, Path("nowhere"))["x"].config == found[name].config
