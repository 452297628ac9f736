from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from driver import tensors
from safetensors.torch import save_file
from torch import nn

from unstir.errors import InputError
from unstir.training.checkpoint import Position, newest_checkpoint, restore, save_checkpoint
from unstir.training.config import Config
from unstir.training.folder import RunFolder, model_file, read_metadata
from unstir.training.start import check_images, check_out, first_difference


def test_left_over_files_go_and_others_stay(tmp_path: Path) -> None:
    keep = [tmp_path / "config.yaml", tmp_path / "checkpoints" / "step-000000001.safetensors", tmp_path / ".mine"]
    for path in keep:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    for folder in (tmp_path, tmp_path / "checkpoints"):
        (folder / ".model.safetensors.partial-12").mkdir()
        (folder / ".model.safetensors.partial-12" / ".tmp123").write_text("x" * 100)
    RunFolder(tmp_path).remove_partial_files()
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(keep)
    assert not list(tmp_path.rglob("*partial*"))


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


@pytest.mark.parametrize("config", [None, "no json", "[1, 2]", '"text"', '{"recipe": 5}'])
def test_a_foreign_safetensors_file_is_no_model(config: str | None, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.zeros(3)}, path, {} if config is None else {"config": config})
    with pytest.raises(InputError):
        model_file(path)


@pytest.mark.parametrize("text", ["", "[1]", "a: [", "\x00\x01", "recipe: x\nnonsense: 1"])
def test_a_damaged_configuration_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError):
        RunFolder(tmp_path).read_config()


# Checkpoints


def _parts(seed: int = 0) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    average = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    return model, average, torch.optim.AdamW(model.parameters(), fused=True)


def _saved(parts: tuple[nn.Module, nn.Module, torch.optim.Optimizer]) -> tuple[Any, Any, Any]:
    """Return the parts as a checkpoint takes them."""
    model, average, optimizer = parts
    return model, average, optimizer.state


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    model(x).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_restored_parts_go_on_bit_for_bit(tmp_path: Path) -> None:
    folder, (model, average, optimizer) = RunFolder(tmp_path), _parts()
    for seed in range(3):
        _step(model, optimizer, seed)
    position = Position(step=3, images=6, elapsed=1.25, quarter=0, pending=[[0.1, 2.5]])
    save_checkpoint(folder, model, average, optimizer.state, position)
    again = _parts(seed=9)
    found = newest_checkpoint(folder)
    assert found is not None
    assert found[1] == position
    restore(found[0], *_saved(again))
    for seed in range(3, 6):
        _step(model, optimizer, seed)
        _step(again[0], again[2], seed)
    for one, other in zip([model, average], again[:2], strict=True):
        assert all(
            torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        )
    weight = again[0][0].weight
    assert again[2].state[weight]["exp_avg"].is_contiguous(memory_format=torch.channels_last)


def test_pruning_keeps_the_newest_two_and_the_first_of_each_quarter(tmp_path: Path) -> None:
    folder, parts = RunFolder(tmp_path), _parts()
    for step in range(0, 17):
        nn.init.constant_(parts[0][0].bias, step)
        save_checkpoint(folder, *_saved(parts), Position(step=step, quarter=step // 4))
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == [
        *(f"quarter-{i}.safetensors" for i in (1, 2, 3, 4)),
        "step-000000015.safetensors",
        "step-000000016.safetensors",
    ]
    for i in (1, 2, 3, 4):
        value = tensors(tmp_path / "checkpoints" / f"quarter-{i}.safetensors")["model.0.bias"]
        assert (value == 4 * i).all()


def test_without_links_a_quarter_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    save_checkpoint(RunFolder(tmp_path), *_saved(_parts()), Position(step=1, quarter=1))
    assert tensors(tmp_path / "checkpoints" / "quarter-1.safetensors")


def test_a_damaged_checkpoint_names_the_one_before_it(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert newest_checkpoint(folder) is None
    for step in (1, 2):
        save_checkpoint(folder, *_saved(_parts()), Position(step=step))
    path = folder.checkpoint(2)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"step-000000002\.safetensors is damaged; remove it .* step-000000001"):
        newest_checkpoint(folder)
    path.unlink()
    assert newest_checkpoint(folder) is not None
    save_file({"a": torch.zeros(1)}, path, {"position": "{"})
    with pytest.raises(InputError, match="damaged"):
        newest_checkpoint(folder)


# Starting


def test_a_free_folder_or_the_same_run_is_taken(make_config: Callable[..., Config], tmp_path: Path) -> None:
    config, out = make_config(), tmp_path / "run"
    check_out(config, out)
    out.mkdir()
    check_out(config, out)
    RunFolder(out).write_config(config)
    check_out(config, out)
    check_out(make_config("training.images=5000"), out)
    check_out(make_config("training.seconds=5"), out)
    check_images(config, out)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("training.batch=17", "its training.batch is 16, not 17"),
        ("seed=3", "its seed is 0, not 3"),
        ("network.kind=plain", "network"),
    ],
)
def test_another_run_is_refused(
    setting: str, words: str, make_config: Callable[..., Config], tmp_path: Path
) -> None:
    RunFolder(tmp_path).write_config(make_config())
    with pytest.raises(InputError, match=words):
        check_out(make_config(setting), tmp_path)


def test_other_images_are_refused(make_config: Callable[..., Config], tmp_path: Path) -> None:
    config = make_config()
    RunFolder(tmp_path).write_config(config)
    assert config.images is not None
    other = config.model_copy(update={"images": config.images.model_copy(update={"fingerprint": "other"})})
    with pytest.raises(InputError, match="other images"):
        check_images(other, tmp_path)


def test_files_of_others_are_left_alone(make_config: Callable[..., Config], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="holds other files and no run"):
        check_out(make_config(), tmp_path)
    with pytest.raises(InputError, match="is a file"):
        check_out(make_config(), tmp_path / "thesis.tex")


def test_first_difference() -> None:
    assert first_difference({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 2}}) is None
    assert first_difference({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}) == ("b.c", 2, 3)
    assert first_difference({"a": 1}, {"a": 1, "d": 4}) == ("d", None, 4)
