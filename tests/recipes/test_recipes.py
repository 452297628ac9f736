from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unstir.diffusion.ladder import level_ratio
from unstir.diffusion.schedule import LadderSchedule
from unstir.errors import InputError
from unstir.models.config import ModelConfig
from unstir.models.denoiser import DenoiserModel
from unstir.models.model import Model
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import ADMConfig
from unstir.recipes import RECIPES, recipe
from unstir.recipes.request import Request, Speed, smoke
from unstir.sampling import AnnealedLangevin, PredictorCorrector
from unstir.training.config import Config
from unstir.training.estimate import parameter_count

SHAPES = {
    "digits": (1, 8, 8),
    "mnist": (1, 28, 28),
    "mnist-label-input": (1, 28, 28),
    "mnist-fc": (1, 28, 28),
    "mnist-fc-notime": (1, 28, 28),
    "mnist-ncsn": (1, 28, 28),
    "mnist-dae": (1, 28, 28),
    "mnist-vae": (1, 28, 28),
    "mnist-gan": (1, 28, 28),
    "fashion-mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "cifar10-adm": (3, 32, 32),
    "mnist-classifier": (1, 28, 28),
    "cifar10-classifier": (3, 32, 32),
    "mnist-hybrid": (1, 28, 28),
    "mnist-inpaint": (1, 28, 28),
    "palette": (3, 32, 32),
    "cifar10-ncsn": (3, 32, 32),
    "cifar10-codec": (3, 32, 32),
    "church256-codec": (3, 256, 256),
    "faces256-codec": (3, 256, 256),
    "church64": (3, 64, 64),
    "cars64": (3, 64, 64),
    "stl10-96": (3, 96, 96),
    "faces128": (3, 128, 128),
    "imagenet64-adm": (3, 64, 64),
    "imagenet128-adm": (3, 128, 128),
    "imagenet256-adm": (3, 256, 256),
}


FOLDERS = ("images", "digits-variations", "emoji-codec", "images-codec")

PLANS = ("-text", "-diffae", "-latent")

SINGLE = [name for name in RECIPES if name not in FOLDERS and not name.endswith(PLANS)]
"""The recipes that return one configuration and need no folder and no captions."""


def _one(name: str, **asked: object) -> Config:
    """The configuration that a recipe of a single run returns."""
    config = RECIPES[name](Request(**asked))  # type: ignore[arg-type]
    assert isinstance(config, Config)
    return config


def _model(config: Config) -> DenoiserConfig:
    assert isinstance(config.model, DenoiserConfig)
    return config.model


def _built(config: Config, shape: tuple[int, int, int], classes: int = 10) -> Model:
    """The model of a run on images of this shape, with labels unless there are 0 classes."""
    return _seen(config, shape, classes).build({})


def _seen(config: Config, shape: tuple[int, int, int], classes: int = 10) -> ModelConfig:
    label = {"kind": "classes", "classes": tuple(str(i) for i in range(classes))}
    return config.seeing(shape, {"label": label} if classes else {}, "x").model


def _parameters(config: Config, shape: tuple[int, int, int], classes: int = 10) -> int:
    return parameter_count(_seen(config, shape, classes))


def test_shapes_are_known_for_every_recipe_of_one_run_but_those_for_folders_and_captions() -> None:
    assert set(SINGLE) == set(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
def test_every_recipe_builds_and_smoke_is_small(name: str) -> None:
    config = _one(name)
    assert config.recipe == name
    assert (config.training.images is None) != (config.training.seconds is None)
    full = _parameters(config, SHAPES[name])
    tiny = smoke(config, own_data=False)
    assert tiny.data.source == "digits"
    assert smoke(config, own_data=True).data.source == config.data.source
    assert tiny.training.images == 32
    assert tiny.model.drawing({}).steps <= 4
    if isinstance(config.model, DenoiserConfig):
        assert _model(tiny).network.kind == _model(config).network.kind
    assert _parameters(tiny, SHAPES[name]) < min(1_000_000, full)
    assert RECIPES[name].__doc__


def test_cifar10_is_as_large_as_the_papers() -> None:
    """The paper's has 35,746,307; ours tells its blocks' 4,992 channels a scale too, in an embedding of 512."""
    assert _parameters(_one("cifar10"), (3, 32, 32)) == 35_746_307 + 4_992 * (512 + 1)


@pytest.mark.parametrize(("size", "published"), [(64, 295_904_454), (128, 421_529_606), (256, 553_838_086)])
def test_the_recipes_of_adm_are_as_large_as_the_papers(size: int, published: int) -> None:
    """Their table of the classes has no row for a hidden one; ours has, of four times the width."""
    config = _one(f"imagenet{size}-adm")
    network = _model(config).network
    assert isinstance(network, ADMConfig)
    assert _parameters(config, (3, size, size), classes=1000) - 4 * network.channels == published


def test_score_networks_have_the_ladders_that_their_data_ask_for() -> None:
    for name, distance in {"mnist-ncsn": 32.0, "cifar10-ncsn": 100.0}.items():
        config = _model(_one(name))
        schedule = config.diffusion.schedule.build()
        assert isinstance(schedule, LadderSchedule)
        assert schedule(1.0).sigma.item() == pytest.approx(distance)
        overlap = level_ratio(math.prod(SHAPES[name]))
        assert 1 + 0.9 * (overlap - 1) < schedule.ratio < overlap
        assert config.sampling.steps == config.diffusion.schedule.discrete_steps
        langevin, pc = (config.drawing({"sampler": sampler}) for sampler in ("langevin", "pc"))
        assert langevin.build(schedule) == AnnealedLangevin(updates=5)
        assert pc.build(schedule) == PredictorCorrector(updates=1)


def test_the_plain_unet_is_as_large_as_the_tutorials() -> None:
    assert _parameters(_one("cars64"), (3, 64, 64)) == 62_438_883


@pytest.mark.parametrize("name", SINGLE)
def test_a_users_budget_and_data_replace_the_recipes(name: str) -> None:
    for asked, budget in (({"images": 7}, (7, None)), ({"seconds": 9}, (None, 9))):
        training = _one(name, **asked).training
        assert (training.images, training.seconds) == budget
    assert _one(name, data="elsewhere").data.source == "elsewhere"


def test_two_budgets_are_refused() -> None:
    with pytest.raises(InputError, match="not both"):
        RECIPES["digits"](Request(images=7, seconds=9))


def test_the_ablation_differs_in_the_time_alone() -> None:
    with_time, without = (_one(name).model_dump() for name in ("mnist-fc", "mnist-fc-notime"))
    networks = with_time["model"]["network"], without["model"]["network"]
    assert (networks[0].pop("time"), networks[1].pop("time")) == (True, False)
    del with_time["recipe"], without["recipe"]
    assert with_time == without


@pytest.mark.parametrize("asked", [{}, {"seconds": 60, "gflops": 100.0}, {"seconds": 3600, "gflops": 100.0}])
def test_the_label_at_the_input_differs_in_its_socket_alone(asked: dict[str, float]) -> None:
    inside, beside = (_one(name, **asked).model_dump() for name in ("mnist", "mnist-label-input"))
    labels = inside["model"]["told"]["label"], beside["model"]["told"]["label"]
    assert (labels[0].pop("socket"), labels[1].pop("socket")) == (None, "image")
    del inside["recipe"], beside["recipe"]
    assert inside == beside


def test_a_model_is_told_labels_where_its_recipe_says_so_and_its_data_has_them() -> None:
    told = {name for name in SINGLE if "label" in _one(name).model.told}
    often = {"digits", "mnist", "mnist-label-input", "mnist-fc", "mnist-fc-notime", "fashion-mnist", "mnist-vae"}
    often |= {"cifar10-adm"}
    assert told == often | {"mnist-gan", "imagenet64-adm", "imagenet128-adm", "imagenet256-adm"}
    for name in told:
        label = _one(name).model.told["label"]
        assert (label.kind, label.dropout) == ("classes", 0.1 if name in often else 0.0)
        assert _seen(_one(name), SHAPES[name]).classes == tuple("0123456789")
        assert _seen(_one(name), SHAPES[name], classes=0).told == {}


def test_an_unknown_recipe_is_told_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'cifar10'"):
        recipe("cifar")


# Any folder of images


@pytest.fixture
def photos(tmp_path: Path) -> Callable[[int, int], str]:
    def write(side: int, count: int = 6) -> str:
        folder = tmp_path / f"photos-{side}"
        folder.mkdir()
        for i in range(count):
            pixels = np.random.default_rng(i).integers(0, 256, (side, side + 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
        return str(folder)

    return write


BUDGETS = [30.0, 120.0, 600.0, 3600.0, 36_000.0, 360_000.0, 3.6e6, 3e8]


@pytest.mark.parametrize("side", [10, 20, 40, 64, 100, 300])
def test_more_budget_is_never_less_resolution(
    side: int, photos: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Request, "speed", lambda self: Speed(400.0, True))
    source = photos(side)
    sizes = []
    for seconds in BUDGETS:
        config = _one("images", data=source, seconds=seconds)
        assert config.data.size is not None
        assert config.training.seconds == seconds
        height, width = config.data.size
        assert height == width
        assert f"{height}x{width}" in config.note
        assert "6 images" in config.note
        assert f"{side} pixels" in config.note
        sizes.append(height)
        tiny = smoke(config, own_data=True)
        assert _parameters(tiny, (3, height, width), classes=0) < 1_000_000
    assert sizes == sorted(sizes)
    assert sizes[0] == 32 and sizes[-1] <= max(32, 1.25 * side)
    if side >= 256:
        assert sizes[-1] == 256


def test_the_choice_changes_where_the_note_says_and_the_budget_in_images_is_kept(
    photos: Callable[..., str],
) -> None:
    config = _one("images", data=photos(110), images=5000)
    assert (config.training.images, config.training.seconds) == (5000, None)
    assert config.data.size == (128, 128) and "128x128 pixels" in config.note
    assert config.data.augment == 0.12 and not config.data.flip
    assert config.note.endswith("altered at random, as each is looked at 833 times")
    assert _one("images", data=config.data.source, images=700).data.augment == 0


def test_a_budget_says_what_it_reaches_and_what_the_next_would_take(
    photos: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Request, "speed", lambda self: Speed(1000.0, True))
    folder = photos(70)
    # 20,000 images of 6 GFLOP are 120 s; 75,000 of 20 GFLOP, 1,500 s.
    note = _one("images", data=folder, seconds=130).note
    assert "64x64 pixels in 130 s" in note and "; a finer network would take about 25 min;" in note
    assert _one("images", data=folder, seconds=1700).note.count("would take") == 0
    short = _one("images", data=folder, seconds=60)
    assert short.data.size == (32, 32) and "; to learn them well takes about 2 min;" in short.note


def test_the_user_can_fix_the_size_and_the_network_fits_it(
    photos: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Request, "speed", lambda self: Speed(1000.0, True))
    folder = photos(300)
    patches = {}
    for size in (24, 48, 64, 100, 128, 256, 300):
        config = _one("images", data=folder, seconds=120, size=size)
        assert config.data.size == (size, size)
        patches[size] = _model(config).network.patch  # type: ignore[attr-defined]
    assert patches == {24: 2, 48: 3, 64: 4, 100: 3, 128: 4, 256: 4, 300: 5}
    assert _one("images", data=folder, seconds=1200, size=64).data.size == (64, 64)


def test_a_faster_machine_reaches_no_less(photos: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    source, sizes = photos(200), []
    for speed in (10.0, 100.0, 1000.0, 10_000.0, 1e6):
        monkeypatch.setattr(Request, "speed", lambda self, speed=speed: Speed(speed, True))
        size = _one("images", data=source, seconds=3600).data.size
        assert size is not None
        sizes.append(size[0])
    assert sizes == sorted(sizes)
    assert sizes[0] == 32
    assert sizes[-1] == 128


def test_the_recipe_for_folders_needs_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs --data FOLDER"):
        RECIPES["images"](Request())
    with pytest.raises(InputError):
        RECIPES["images"](Request(data=str(tmp_path / "missing")))


# The denoising autoencoder


def test_a_denoising_autoencoder_is_the_recipes_network_at_one_level(photos: Callable[..., str]) -> None:
    for data, base in ((None, "mnist"), (photos(40), "images")):
        config, like = (_one(name, data=data, seconds=600) for name in ("mnist-dae", base))
        assert config.data == like.data.model_copy(update={"augment": 0.0})
        assert config.training == like.training
        assert _model(config).network == _model(like).network
        built = _built(config, (3, 32, 32))
        assert isinstance(built, DenoiserModel)
        assert (built.schedule.t_min, float(built.schedule(1.0).sigma)) == (1.0, 0.5)
        assert not built.config.classes and built.config.verbs == ("clean",)
