from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unstir.errors import InputError
from unstir.models.autoencoder_config import CodecConfig
from unstir.networks.perceptual_config import LPIPS_URL, VGG_URL, PerceptualConfig
from unstir.recipes import RECIPES
from unstir.recipes.request import Request
from unstir.training.config import Config
from unstir.training.estimate import parameter_count


def config(name: str, **asked: object) -> tuple[Config, CodecConfig]:
    made = RECIPES[name](Request(**{"gflops": 300.0, **asked}))  # type: ignore[arg-type]
    assert isinstance(made, Config) and isinstance(made.model, CodecConfig)
    return made, made.model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (70, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    return tmp_path


def test_the_adversary_begins_about_in_the_middle() -> None:
    for asked, expected in (
        ({"images": 5000}, 5000),
        ({"seconds": 300.0}, 300 * 300 / 1.5),
        ({}, 600 * 300 / 1.5),
    ):
        run, model = config("cifar10-codec", **asked)
        assert model.adversary.after == pytest.approx(expected / 2, abs=1)
        assert run.begun.gflops == (None if "images" in asked else 300.0)  # by which it is chosen again
    assert config("church256-codec")[1].adversary.after == 600_000
    assert config("church256-codec", images=1000)[1].adversary.after == 500
    assert config("faces256-codec", seconds=3600.0, gflops=20_000.0)[1].adversary.after == 12_000


def test_codes_are_a_quarter_or_an_eighth_of_the_side(folder: Path) -> None:
    for name, asked, shape, codes in (
        ("cifar10-codec", {}, (3, 32, 32), (4, 8, 8)),
        ("emoji-codec", {"data": str(folder)}, (3, 64, 64), (4, 16, 16)),
        ("images-codec", {"data": str(folder)}, (3, 64, 64), (4, 16, 16)),
        ("images-codec", {"data": str(folder), "size": 32}, (3, 32, 32), (4, 8, 8)),
        ("images-codec", {"data": str(folder), "size": 128}, (3, 128, 128), (4, 16, 16)),
        ("church256-codec", {}, (3, 256, 256), (4, 32, 32)),
        ("faces256-codec", {}, (3, 256, 256), (3, 64, 64)),
    ):
        run, model = config(name, **asked)
        assert run.data.size == shape[1:]
        assert model.seeing(shape, {}).codes == codes


def test_the_large_ones_are_the_papers() -> None:
    for name, published in (("faces256-codec", 55.3e6), ("church256-codec", 83.7e6)):
        model = config(name)[1]
        alone = model.model_copy(update={"adversary": model.adversary.model_copy(update={"weight": 0.0})})
        assert parameter_count(alone.seeing((3, 256, 256), {})) == pytest.approx(published, rel=0.06)


def test_the_papers_distance_is_taken_where_its_weights_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    asked, (chosen, model) = Request(images=7), config("faces256-codec")
    assert model.perceptual.name == "efficientnet-lite0" and "perceptual.network=lpips" in chosen.note
    assert Path(torch.hub.get_dir()) == tmp_path / "hub"  # where its weights are looked for, torch leaves them
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for url in (VGG_URL, LPIPS_URL):
        (folder / url.rpartition("/")[2]).touch()
    chosen = RECIPES["faces256-codec"](asked)
    assert chosen.model.perceptual == PerceptualConfig(network="lpips", weight=5.0)  # type: ignore[union-attr]
    assert not chosen.note  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["emoji-codec", "images-codec"])
def test_a_folder_must_be_named(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' needs --data FOLDER"):
        RECIPES[name](Request(images=7))
