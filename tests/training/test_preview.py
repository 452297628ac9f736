"""The pictures along a run: what a budget bears, and those of a denoising autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from unstir.data.dataset import ImageData, Splits
from unstir.diffusion import Condition
from unstir.diffusion.corruption import corruptions
from unstir.errors import InputError
from unstir.models.denoiser import DenoiserModel
from unstir.models.film import REST
from unstir.models.samples import Samples
from unstir.models.systems import ClassifierConfig, DenoiserConfig
from unstir.networks.told import Told
from unstir.recipes import RECIPES
from unstir.recipes.request import Request
from unstir.sampling import SeededNoise
from unstir.sampling.config import SamplingConfig
from unstir.training import preview
from unstir.training.config import Config
from unstir.training.learner import Learner
from unstir.training.preview import (
    LAST_SHARE,
    LEAST_EVALUATIONS,
    Drawn,
    Nothing,
    Restorations,
    make_film,
    pictures,
)
from unstir.training.run_folder import RunFolder

ANSWER = ("diffusion.parameterization=x0", "diffusion.objective=x0", "diffusion.schedule.name=single")
MakeLearner = Callable[[Config], Learner]


@pytest.mark.parametrize("corruption", corruptions)
def test_rows_are_clean_corrupted_and_restored(
    corruption: str, digits: Splits, make_config: Callable[..., Config], make_learner: MakeLearner, tmp_path: Path
) -> None:
    config = make_config(*ANSWER, f"diffusion.corruption={corruption}", "diffusion.schedule.amount=0.4")
    model = make_learner(config).average

    class Mirror(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor, sockets: None) -> Tensor:
            return x.flip(-1)

    model.denoiser.network = Mirror()
    picturing = pictures(model.config, None, digits.held_out)
    assert isinstance(picturing, Restorations)
    path = picturing.draw(model, tmp_path / "x.png")
    picture = np.asarray(Image.open(path))
    factor = 8  # 8x8 images are shown eight times as large, with 2 pixels between them
    tiles = picture[: 3 * 66, : 16 * 66].reshape(3, 66, 16, 66)[:, 2::factor, :, 2::factor].swapaxes(1, 2)

    clean, _ = digits.held_out.examples(np.arange(16))
    noise = SeededNoise(range(16))(clean)
    corrupted = corruptions[corruption](clean, model.schedule(1.0), noise)
    expected = torch.stack([clean, corrupted, corrupted.flip(-1)])
    np.testing.assert_array_equal(tiles, Samples(expected.flatten(0, 1)).bytes().reshape(3, 16, 8, 8).numpy())


def test_a_model_is_shown_by_what_it_can_be_asked_for(digits: Splits) -> None:
    draws = DenoiserConfig().seeing(digits.train.shape, {})
    assert isinstance(pictures(draws, 5.0, digits.held_out), Drawn)
    reads = ClassifierConfig().seeing(digits.train.shape, digits.train.facts())
    nothing = pictures(reads, 5.0, digits.held_out)
    assert isinstance(nothing, Nothing)
    assert nothing.draw(reads.build({}), Path("x.png")) is None
    assert not Path("x.png").exists()
    assert nothing.last_seconds() == 0


class Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls, self.weight = 0, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, t: Tensor, sockets: Any) -> Tensor:
        self.calls += 1
        return self.weight * x.tanh()


@pytest.fixture
def counted() -> tuple[DenoiserModel, Counted]:
    """A model on 20 levels of noise with a network that counts how often it is asked, by batches of 64."""
    values = {"precision": "float32", "diffusion": {"schedule": {"name": "ladder", "steps": 20}}}
    config = DenoiserConfig.model_validate(values | {"sampling": {"steps": 15}}).seeing((1, 2, 2), {})
    model, network = config.build({}), Counted()
    model.denoiser.network = network  # type: ignore[assignment,union-attr]
    return model, network  # type: ignore[return-value]


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "ddpm"},
        {"sampler": "heun"},
        {"sampler": "plms"},
        {"sampler": "langevin"},
        {"sampler": "langevin", "updates": 3},
        {"sampler": "pc"},
        {"sampler": "pc", "updates": 4, "predictor": "ancestral"},
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [2, 7])
def test_a_sampling_knows_how_often_it_asks_the_network(
    steps: int, options: dict[str, Any], counted: tuple[DenoiserModel, Counted]
) -> None:
    model, network = counted
    model.sample(3, steps=steps, **options)
    assert network.calls == SamplingConfig().with_options({"steps": steps, **options}).evaluations


def test_the_last_picture_of_a_budget_in_images_is_drawn_as_the_model_is(
    counted: tuple[DenoiserModel, Counted], digits: Splits, tmp_path: Path
) -> None:
    model, network = counted
    picturing = Drawn(model.config, None, digits.held_out)
    for last in (False, True):
        network.calls = 0
        path = picturing.draw(model, tmp_path / "x.png", last)
        assert network.calls == 15
        expected = np.asarray(model.sample(64).grid())
        np.testing.assert_array_equal(np.asarray(Image.open(path)), expected)


def test_a_picture_under_a_budget_in_seconds_takes_its_share(
    counted: tuple[DenoiserModel, Counted], digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, network = counted

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return 0.5 * network.calls  # half a second for each time the network is asked

    monkeypatch.setattr(preview, "time", Clock)
    picturing = Drawn(model.config, 100.0, digits.held_out)
    assert picturing.last_seconds() == 0  # not known yet
    picturing.draw(model, tmp_path / "x.png")
    assert picturing.evaluation_seconds == 0.5
    assert network.calls == 2 + LEAST_EVALUATIONS  # which is more than a hundredth of the budget
    picturing.draw(model, tmp_path / "y.png", last=True)
    assert network.calls == 2 + LEAST_EVALUATIONS + 12  # 0.06 * 100 / 0.5
    assert picturing.last_seconds() == pytest.approx(6)


def test_a_picture_asks_the_network_no_more_often_than_its_budget_bears(digits: Splits) -> None:
    config = RECIPES["mnist-ncsn"](Request(seconds=100))
    assert isinstance(config, Config)
    model = config.model.seeing((1, 28, 28), {})
    own = model.drawing({}).evaluations
    pictures = Drawn(model, 100, digits.held_out)
    assert own > model.drawing({}).steps  # type: ignore[attr-defined]
    pictures.evaluation_seconds = LAST_SHARE * 100 / (own + 0.5)
    assert pictures.evaluations(last=True) == own > pictures.evaluations(last=False)
    pictures.evaluation_seconds *= 2
    assert LEAST_EVALUATIONS < pictures.evaluations(last=True) <= (own + 1) / 2
    assert pictures.last_seconds() <= LAST_SHARE * 100


def test_pictures_tell_the_model_what_held_out_images_have(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8)).astype(np.uint8)
    data = ImageData.from_array(pixels, np.arange(6) % 2, columns={"age": np.arange(6.0), "caption": ["x"] * 6})
    config = DenoiserConfig(told={"label": Told(kind="classes"), "age": Told(kind="numbers")})
    seen = []

    class Model:
        condition = staticmethod(lambda given, images: Condition.of({k: given[k] for k in config.told}))
        quick = staticmethod(lambda evaluations: {})

        @staticmethod
        def sample(n: int, told: dict[str, torch.Tensor]) -> Samples:
            seen.append((n, told))
            return Samples(torch.zeros(n, 1, 8, 8))

    Drawn(config.seeing(data.shape, data.facts()), None, data).draw(Model(), tmp_path / "x.png")  # type: ignore[arg-type]
    ((n, told),) = seen
    assert n == 16 and told.keys() == {"age"}  # the classes come in turn
    assert told["age"][:, 0].tolist() == [i % 6 for i in range(16)]


def test_a_film_is_of_the_readable_pictures_of_the_newest_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)
    folder.samples.mkdir()

    def draw(images: int, side: int = 40) -> None:
        Image.new("RGB", (side, 30), (images, 0, 0)).save(folder.picture(images))

    def shades() -> list[int]:
        with Image.open(folder.film) as film:
            assert (film.width, film.height > 30, film.info["loop"]) == (40, True, 0)
            found, durations = [], []
            for number in range(film.n_frames):
                film.seek(number)
                found.append(film.convert("RGB").getpixel((20, film.height - 10))[0])
                durations.append(film.info["duration"])
        assert durations[-1] == REST > max(durations[:-1])
        return found

    draw(10, side=99)  # as drawn before its size changed
    for images in (200, 40, 120):
        draw(images)
    folder.picture(80).write_bytes(b"cut off")
    Image.new("RGB", (40, 30)).save(folder.samples / "images-mine.png")
    make_film(folder)
    assert shades() == pytest.approx([40, 120, 200], abs=6)
    for images in range(41, 60):
        draw(images)
    monkeypatch.setattr(preview, "FRAMES", 4)
    make_film(folder)
    assert len(shades()) == 3  # evenly out of 24, the first of which is of another size
    assert shades()[-1] == pytest.approx(200, abs=6)
    assert [path.name for path in folder.samples.iterdir() if path.name.startswith(".")] == []


def test_a_picture_of_no_numbers_stops_no_training(
    digits: Splits, make_config: Callable[..., Config], make_learner: MakeLearner, tmp_path: Path
) -> None:
    model = make_learner(make_config()).average

    class Broken(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor, sockets: object) -> Tensor:
            return x * torch.nan

    model.denoiser.network = Broken()
    with pytest.raises(InputError, match="not made of numbers any more"):
        model.sample(2).save(tmp_path / "asked.png")
    assert not (tmp_path / "asked.png").exists()
    path = pictures(model.config, None, digits.held_out).draw(model, tmp_path / "along.png")
    assert path is not None and path.exists()
