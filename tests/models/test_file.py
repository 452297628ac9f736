"""A model file: one file is a model, with its parts beside it or in it; what it holds, and when it is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

import unstir
from unstir.errors import InputError
from unstir.models.config import FrozenPart
from unstir.models.denoiser import DenoiserModel
from unstir.models.file import (
    FORMAT,
    load,
    load_parts,
    locate,
    read_config,
    read_metadata,
    relative,
    save,
    weights_hash,
    write,
)
from unstir.models.model import Model
from unstir.models.systems import ClassifierConfig
from unstir.networks.told import Told

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
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def _rewrite(path: Path, **metadata: str | None) -> None:
    """Change a file's metadata; None takes an entry away."""
    about = {k: v for k, v in (read_metadata(path) | metadata).items() if v is not None}
    save_file(_tensors(path), path, about)


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
    metadata = read_metadata(path)
    assert metadata.keys() == {"format", "unstir", "model", "hash"}
    assert metadata["unstir"] == str(FORMAT) == "2"
    values = json.loads(metadata["model"])
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


def test_a_hash_is_of_names_shapes_types_and_values() -> None:
    tensors = {"a": torch.arange(6.0), "b": torch.tensor(3)}
    expected = weights_hash(tensors)
    assert len(expected) == 32
    assert weights_hash(dict(reversed(tensors.items()))) == expected
    last = torch.channels_last
    image = torch.rand(2, 3, 4, 5)
    assert weights_hash({"x": image}) == weights_hash({"x": image.contiguous(memory_format=last)})
    assert weights_hash({"x": torch.ones(3).bfloat16()})
    for other in (
        {"a": tensors["a"], "c": tensors["b"]},
        {"a": tensors["a"].reshape(2, 3), "b": tensors["b"]},
        {"a": tensors["a"].double(), "b": tensors["b"]},
        {"a": tensors["a"] + 1e-6, "b": tensors["b"]},
        {"a": tensors["a"].flip(0), "b": tensors["b"]},
        {"a": tensors["a"]},
    ):
        assert weights_hash(other) != expected


# Refused


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut", "header", "folder", "missing"])
def test_a_damaged_file_is_told(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.zeros(1000)}, path, {"config": "{}"})
    whole = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "garbage": os.urandom(5000), "cut": whole[:-5], "header": whole[:20]}.get(damage, whole)
    )
    if damage in ("folder", "missing"):
        path.unlink()
    if damage == "folder":
        path.mkdir()
    with pytest.raises(InputError, match=r"m\.safetensors"):
        read_metadata(path)


@pytest.mark.parametrize("text", [None, "no json", "[1, 2]", '"text"', "7", "null", '{"recipe": 5}'])
def test_a_foreign_safetensors_file_is_no_model(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for number in ("2", None, "two"):
        metadata = {"unstir": number, "model": text}
        save_file({"a": torch.zeros(3)}, path, {k: v for k, v in metadata.items() if v is not None})
        for ask in (read_config, load):
            with pytest.raises(InputError, match=r"m\.safetensors"):
                ask(path)


def test_a_file_of_the_first_format_is_told(path: Path) -> None:
    _rewrite(path, unstir=None, model=None, hash=None, config='{"recipe": "digits", "conditional": true}')
    for ask in (read_config, load):
        with pytest.raises(InputError, match=r"was written by an older unstir \(format 1\), .* train it again"):
            ask(path)


def test_a_file_of_a_newer_format_is_told(path: Path) -> None:
    for model in ('{"kind": "unheard-of", "more": [1]}', None):
        _rewrite(path, unstir="3", model=model)
        for ask in (read_config, load):
            with pytest.raises(InputError, match=r"by a newer unstir \(format 3\): update unstir to read it"):
                ask(path)


@pytest.mark.parametrize("kind", ["denoizer", None, 7, ["denoiser"]])
def test_an_unknown_system_is_told(kind: object, path: Path) -> None:
    values = json.loads(read_metadata(path)["model"])
    _rewrite(path, model=json.dumps(values | {"kind": kind}))
    for ask in (read_config, load):
        with pytest.raises(InputError, match=r"holds a model that this unstir does not know: no system is called"):
            ask(path)


def test_a_wrong_configuration_is_told(path: Path) -> None:
    values = json.loads(read_metadata(path)["model"])
    _rewrite(path, model=json.dumps(values | {"precision": "int8"}))
    with pytest.raises(InputError, match=r"model\.safetensors holds a model .* precision cannot be 'int8'"):
        read_config(path)


@pytest.mark.parametrize("place", [-1, -3000, 0.5])
def test_one_flipped_bit_is_noticed(place: float, path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = int(place * len(content)) if 0 < place < 1 else int(place)
    header = 8 + int.from_bytes(content[:8], "little")
    assert at % len(content) > header  # among the weights
    content[at] ^= 0x01
    path.write_bytes(content)
    read_config(path)  # which does not read them
    with pytest.raises(InputError, match=r"is damaged: its weights are not those that were written"):
        load(path)


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
    noted = read_metadata(folder / "encoder" / "model.safetensors")["hash"]
    part = FrozenPart(path=relative(folder / "encoder", folder / "drawing"), hash=noted, model=encoder.config)
    told = {"seen": Told(kind="embedding", of="encoder", width=64, dropout=0.1)}
    own = make_model().config.model_copy(update={"told": told, "parts": {"encoder": part}})
    torch.manual_seed(1)
    model = own.build({"encoder": encoder})
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
    assert read_metadata(tmp_path / "again.safetensors") == read_metadata(whole)


def test_parts_of_parts_are_inlined_too(runs: Path, make_model: MakeModel, tmp_path: Path) -> None:
    inner = load(runs / "drawing")
    part = FrozenPart(
        path="drawing",
        hash=read_metadata(runs / "drawing" / "model.safetensors")["hash"],
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
