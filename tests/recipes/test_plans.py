"""Recipes that are plans: every stage trains, a later one is told what an earlier one sees, budgets are shared."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from unstir.cli.main import run
from unstir.data.config import DataConfig
from unstir.data.load import load as load_images
from unstir.diffusion import Condition
from unstir.errors import InputError
from unstir.models.classifier import Classifier
from unstir.models.denoiser import DenoiserModel
from unstir.models.file import load, read_config, save
from unstir.models.model import Batch
from unstir.recipes import RECIPES
from unstir.recipes.request import Request
from unstir.training.plan import Plan


@pytest.fixture(scope="module", autouse=True)
def cache(own_cache: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSTIR_CACHE", str(own_cache))
        yield


def plan(**asked: object) -> Plan:
    made = RECIPES["digits-variations"](Request(**asked))  # type: ignore[arg-type]
    assert isinstance(made, Plan)
    return made


# The budget


def test_a_share_is_that_part_of_the_budget_and_of_the_same_data() -> None:
    assert Request("here", images=1000).share(0.2) == Request("here", images=200)
    assert Request("here", seconds=90.0).share(0.2) == Request("here", seconds=18.0)
    assert Request("here").share(0.2) == Request("here")
    assert Request(images=2).share(0.1).images == 1  # no stage is left without


def test_the_stages_share_the_users_budget() -> None:
    by_images = [stage.training for stage in plan(images=1000).stages.values()]
    assert [(each.images, each.seconds) for each in by_images] == [(200, None), (800, None)]
    by_seconds = [stage.training for stage in plan(seconds=50.0).stages.values()]
    assert [(each.images, each.seconds) for each in by_seconds] == [(None, 10.0), (None, 40.0)]
    own = [stage.training.seconds for stage in plan().stages.values()]
    assert all(own) and own[0] < own[1]


def test_all_stages_have_the_users_data_and_the_recipes_name() -> None:
    for stage in plan(data="elsewhere").stages.values():
        assert (stage.data.source, stage.recipe) == ("elsewhere", "digits-variations")
    assert RECIPES["digits-variations"].__doc__


# Both stages, trained


@pytest.fixture(scope="module")
def trained(cache: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plan") / "variations"
    assert run(["train", "digits-variations", "--smoke", "--out", str(out)]) == 0
    return out


@pytest.fixture
def drawing(trained: Path) -> DenoiserModel:
    """The last stage's model, in which what starts at zero has weights."""
    model = load(trained)
    assert isinstance(model, DenoiserModel)
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.abs().max() < 0.01:  # a few small steps from zero
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def images() -> tuple[Tensor, dict[str, Tensor]]:
    return load_images(DataConfig(source="digits")).train.examples(np.arange(12))  # type: ignore[return-value]


def test_each_stage_is_a_run_and_the_last_ones_model_is_the_plans(trained: Path) -> None:
    assert list(yaml.safe_load((trained / "plan.yaml").read_text())) == ["encoder", "drawing"]
    encoder, whole = load(trained / "encoder"), load(trained)
    assert isinstance(encoder, Classifier) and isinstance(whole, DenoiserModel)
    assert read_config(trained)[0] == trained / "drawing" / "model.safetensors"
    assert (trained / "drawing" / "samples").is_dir()
    part = whole.parts["encoder"]
    for name, value in encoder.state_dict().items():
        assert torch.equal(part.state_dict()[name], value), name
    assert not any(name.startswith("parts") for name in whole.state_dict())
    seen = whole.config.told["seen"]
    assert (seen.kind, seen.width, seen.of) == ("embedding", encoder.config.features, "encoder")
    assert list(whole.config.told) == ["seen"]


def test_the_second_stage_is_told_what_the_first_sees(
    drawing: DenoiserModel, images: tuple[Tensor, dict[str, Tensor]], trained: Path
) -> None:
    x, _ = images
    batch = drawing.train().prepare(images, torch.Generator().manual_seed(0))
    value, hidden = batch["condition"].parts["seen"]
    encoder = load(trained / "encoder")
    assert isinstance(encoder, Classifier)
    torch.testing.assert_close(value, encoder.embed(x).float())
    assert 0 < hidden.sum() < len(x)
    drawing.eval()
    before = drawing.losses("main", batch, drawing)["loss"]
    shuffled = Batch({**batch, "condition": Condition({"seen": (value.roll(1, 0), hidden)})})
    after = drawing.losses("main", shuffled, drawing)["loss"]
    assert torch.equal(after[hidden], before[hidden])
    assert ((after - before).abs() > 1e-4 * before)[~hidden].all()


def test_images_are_drawn_from_what_is_seen_in_one(
    drawing: DenoiserModel, images: tuple[Tensor, dict[str, Tensor]]
) -> None:
    x, _ = images
    encoder = drawing.parts["encoder"]
    assert isinstance(encoder, Classifier)
    seen = encoder.embed(x[:3]).float()
    own, hidden = drawing.sample(3, told={"seen": seen}), drawing.sample(3)
    one = drawing.sample(3, told={"seen": seen[1:2]})  # a row for all
    assert (own.tensor - hidden.tensor).abs().amax((1, 2, 3)).min() > 1e-3
    torch.testing.assert_close(one.tensor[1], own.tensor[1], rtol=1e-4, atol=1e-4)
    assert (one.tensor - own.tensor).abs().amax((1, 2, 3))[[0, 2]].min() > 1e-3


def test_the_same_command_again_changes_nothing(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.name != "plan.yaml"}

    before = files()
    assert run(["train", "digits-variations", "--smoke", "--out", str(trained)]) == 0
    assert "is finished" in capsys.readouterr().out
    assert files() == before


def test_a_plan_that_was_moved_goes_on_in_its_stage(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(trained, tmp_path / "moved")
    shutil.rmtree(moved / "drawing")
    encoder = (moved / "encoder" / "model.safetensors").stat().st_mtime_ns
    assert run(["train", "digits-variations", "--smoke", "--out", str(moved)]) == 0
    assert "is finished" not in capsys.readouterr().out
    assert (moved / "encoder" / "model.safetensors").stat().st_mtime_ns == encoder
    one, other = load(trained).state_dict(), load(moved).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_part_that_has_changed_since_is_refused(trained: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(trained, tmp_path / "moved")
    encoder = load(moved / "encoder")
    encoder.head.bias.add_(1)  # type: ignore[union-attr, operator]
    save(moved / "encoder" / "model.safetensors", encoder)
    with pytest.raises(InputError, match=r"The part 'encoder' of the model, .*encoder, has changed since"):
        load(moved)
