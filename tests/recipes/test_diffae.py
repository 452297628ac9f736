"""Plans of diffusion autoencoders: three stages, two where images have no classes, and what they draw."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unstir.cli.main import run
from unstir.errors import InputError
from unstir.models.diffae import DiffusionAutoencoder
from unstir.models.diffae_config import DiffusionAutoencoderConfig, LinearReaderConfig
from unstir.models.file import load
from unstir.models.systems import DenoiserConfig
from unstir.recipes import RECIPES
from unstir.recipes.request import Request
from unstir.tensors import read_tensors
from unstir.training import learner, loop
from unstir.training.estimate import parameter_count
from unstir.training.plan import Plan

SHAPES = {"mnist": (1, 28, 28), "emoji": (3, 64, 64), "cifar10": (3, 32, 32), "faces128": (3, 128, 128)}


@pytest.fixture(scope="module", autouse=True)
def cache(own_cache: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNSTIR_CACHE", str(own_cache))
        yield


def plan(name: str, **asked: Any) -> Plan:
    made = RECIPES[f"{name}-diffae"](Request(**asked))
    assert isinstance(made, Plan)
    return made


@pytest.mark.parametrize(("name", "shape"), SHAPES.items())
def test_every_plan_builds_and_its_tiny_version_is_small(name: str, shape: tuple[int, int, int]) -> None:
    made = plan(name, **({"data": "digits"} if name == "emoji" else {}))
    first, last = made.stages["autoencoder"].model, made.stages["latents"].model
    assert isinstance(first, DiffusionAutoencoderConfig) and isinstance(last, DenoiserConfig)
    assert ("directions" in made.stages) == (name != "faces128")  # which have no classes
    for config in (first, first.tiny()):
        built = config.seeing(shape, {})
        count = parameter_count(built)
        assert count > 10_000
        part = last.parts["codec"].model_copy(update={"model": built})
        codes = last.model_copy(update={"parts": {"codec": part}}).seeing(shape, {})
        assert codes.samples.shape == (config.encoder.features, 1, 1) and not codes.samples.bounded
        assert parameter_count(codes.tiny()) < parameter_count(codes)
    assert count < 1_000_000


def test_the_stages_share_the_budget_but_for_what_takes_seconds() -> None:
    own = [stage.training.seconds for stage in plan("mnist").stages.values()]
    assert own == [20 * 60, None, 5 * 60]
    asked = [stage.training.budget for stage in plan("mnist", seconds=100.0).stages.values()]
    assert asked == [{"seconds": 80.0}, {"images": 1_000_000}, {"seconds": 20.0}]


def test_pictures_of_ones_own_are_asked_for() -> None:
    with pytest.raises(InputError, match="'emoji-diffae' needs --data FOLDER"):
        plan("emoji")


@pytest.fixture(scope="module")
def trained(cache: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plan") / "diffae"
    assert run(["train", "mnist-diffae", "--smoke", "--out", str(out)]) == 0
    return out


def test_the_last_stage_draws_codes_which_the_first_makes_images_of(trained: Path) -> None:
    whole: Any = load(trained)
    codec, reader = load(trained / "autoencoder"), load(trained / "directions")
    assert isinstance(codec, DiffusionAutoencoder) and isinstance(reader.config, LinearReaderConfig)
    assert {*whole.parts} == {"codec", "directions"} and {*reader.parts} == {"codec"}
    assert not any(name.startswith("parts") for name in whole.state_dict())
    assert whole.config.image_shape == (1, 8, 8) and whole.asking("morph") is whole.parts["codec"]
    for parameter in whole.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    for parameter in codec.parameters():  # what begins at zero is still near it
        if parameter.abs().max() < 0.02:
            torch.nn.init.normal_(parameter, std=0.3)
    whole.parts["codec"].load_state_dict(codec.state_dict())
    whole.parts["codec"]._lowered.clear()
    codes: list[torch.Tensor] = []
    inner = whole.parts["codec"].decode
    whole.parts["codec"].decode = lambda z, seeds: codes.append(z) or inner(z, seeds)
    drawn = whole.sample(5, seed=3, steps=4).tensor
    assert codes[0].shape == (5, 16, 1, 1) and codes[0].std() > 0.1
    torch.testing.assert_close(drawn, codec.decode(codes[0], range(3, 8)), atol=0.02, rtol=0)
    one = next(whole.draw([2], seed=3, steps=4)).tensor
    assert (one[0] - drawn[2]).abs().mean() < 0.02 < drawn.diff(dim=0).abs().mean()


def test_images_without_classes_have_no_directions(cache: None, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(0)
    for i in range(20):
        pixels = random.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    out = tmp_path / "plan"
    assert run(["train", "emoji-diffae", "--data", str(tmp_path / "photos"), "--smoke", "--out", str(out)]) == 0
    assert not (out / "directions").exists()
    assert {*load(out).parts} == {"codec"}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("stage", ["autoencoder", "directions", "latents"])
def test_killed_in_a_stage_and_resumed_is_uninterrupted(
    stage: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, step = tmp_path / "again", learner.Learner.step

    def dying(self: Any, rate: float) -> Any:
        kinds = {"autoencoder": "diffae", "directions": "linear_reader", "latents": "denoiser"}
        if self.config.model.kind == kinds[stage] and self.position.step == 2:
            raise Killed
        return step(self, rate)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(learner.Learner, "step", dying)
        with pytest.raises(Killed):
            run(["train", "mnist-diffae", "--smoke", "--out", str(out)])
    assert list((out / stage / "checkpoints").glob("step-*"))
    assert run(["train", "mnist-diffae", "--smoke", "--out", str(out)]) == 0
    for name in ("autoencoder", "directions", "latents"):
        ours, theirs = (read_tensors(place / name / "model.safetensors")[1] for place in (out, trained))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
