"""A denoiser of codes: what its codec keeps of images is computed once, learned, drawn and made into images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import unstir
from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData, Splits
from unstir.data.load import load as load_images
from unstir.diffusion.config import DiffusionConfig, ScheduleConfig
from unstir.doctor.patient import Patient
from unstir.errors import InputError
from unstir.evaluation.figures.levels import level_losses
from unstir.evaluation.figures.reverse import reverse_stages
from unstir.models.config import FrozenPart, ModelConfig, SampleInfo, systems
from unstir.models.file import save
from unstir.models.model import Model
from unstir.models.systems import ClassifierConfig, DenoiserConfig
from unstir.networks.config import UNetConfig
from unstir.networks.told import Told
from unstir.sampling.config import DDIMConfig, SamplingConfig
from unstir.training import codes, learner, loop
from unstir.training.config import Config, TrainingConfig
from unstir.training.loop import train
from unstir.training.start import for_codes, with_named_parts


@systems.add
class FoldConfig(ModelConfig):
    """A codec that can be inverted exactly: squares of pixels become channels, times ``gain``."""

    about: ClassVar[str] = "a fold"
    verbs: ClassVar[tuple[str, ...]] = ("encode", "decode")

    kind: Literal["fold"] = "fold"
    fold: int = 2
    gain: float = 3.0
    spread: float = 0.1

    @property
    def codes(self) -> tuple[int, int, int]:
        channels, height, width = self.samples.shape
        return channels * self.fold**2, height // self.fold, width // self.fold

    def build(self, parts: Mapping[str, Model]) -> Model:
        return Fold(self, parts)


class Fold(Model):
    """Its moments are means and spreads, side by side."""

    config: FoldConfig
    asked: ClassVar[list[tuple[str, int]]] = []

    def moments(self, images: Tensor) -> Tensor:
        self.asked.append(("moments", len(images)))
        mean = self.encode(images)
        return torch.stack([mean, torch.full_like(mean, self.config.spread)], 1)

    def codes(self, moments: Tensor, generator: torch.Generator) -> Tensor:
        mean, spread = moments.unbind(1)
        if not self.config.spread:
            return mean
        return mean + spread * torch.randn(mean.shape, generator=generator)

    def encode(self, images: Tensor) -> Tensor:
        return self.config.gain * functional.pixel_unshuffle(images, self.config.fold)

    def decode(self, codes: Tensor, seeds: Sequence[int]) -> Tensor:
        assert len(seeds) == len(codes)
        return functional.pixel_shuffle(codes / self.config.gain, self.config.fold).clamp(-1, 1)


@pytest.fixture
def digits() -> Splits:
    return load_images(DataConfig(source="digits"))


@pytest.fixture(autouse=True)
def kept_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "cache_folder", lambda: tmp_path / "cache")
    Fold.asked.clear()


def write_codec(folder: Path, shape: tuple[int, ...] = (1, 8, 8), **values: float) -> Path:
    config = FoldConfig(samples=SampleInfo(shape=shape), **values)
    save(folder / "fold.safetensors", config.build({}))
    return folder / "fold.safetensors"


def a_run(codec: Path | None = None, images: int = 32, flip: bool = False, **model: object) -> Config:
    network = UNetConfig(channels=(16, 16), blocks=1, attention=("none", "none"))
    parts = {} if codec is None else {"codec": FrozenPart(path=str(codec))}
    values = {"diffusion": DiffusionConfig(parameterization="v", objective="v"), "network": network} | model
    return Config(
        recipe="test",
        data=DataConfig(source="digits", flip=flip),
        training=TrainingConfig(images=images, batch=8, log_every=1),
        model=DenoiserConfig(
            told={"label": Told(kind="classes", dropout=0.1)},
            sampling=SamplingConfig(sampler=DDIMConfig(), steps=4),
            parts=parts,
            **values,
        ),
    )


def seen(data: ImageData, codec: Model) -> Model:
    """A denoiser of the codes of these images."""
    parts = {"codec": FrozenPart(path="codec", model=codec.config)}
    config = a_run().model.model_copy(update={"parts": parts}).seeing(data.shape, data.facts())
    return config.build({"codec": codec})


def test_the_identity_gives_pixel_diffusion_bit_for_bit(digits: Splits, tmp_path: Path) -> None:
    same = write_codec(tmp_path, fold=1, gain=1.0, spread=0.0)
    for name, codec in (("pixels", None), ("codes", same)):
        train(a_run(codec, flip=True), tmp_path / name, digits, time.monotonic())
    pixels, coded = unstir.load(tmp_path / "pixels"), unstir.load(tmp_path / "codes")
    for key, value in pixels.state_dict().items():
        assert torch.equal(value, coded.state_dict()[key]), key
    assert coded.config.samples == SampleInfo(shape=(1, 8, 8), bounded=False)
    drawn = [model.sample(3, **how).tensor for model, how in ((pixels, {"clip": "none"}), (coded, {}))]
    assert torch.equal(*drawn)


def test_a_denoiser_of_codes_draws_images(digits: Splits, tmp_path: Path) -> None:
    train(a_run(write_codec(tmp_path)), tmp_path / "run", digits, time.monotonic())
    model = unstir.load(tmp_path / "run")
    assert model.config.samples.shape == (4, 4, 4) and model.config.image_shape == (1, 8, 8)
    assert model.config.verbs == ("draw", "invert", "predict")
    drawn = model.sample(5, label=3, seed=7)
    assert drawn.tensor.shape == (5, 1, 8, 8)
    alone = model.sample(1, label=3, seed=9)  # whatever the batch, image 2 comes from seed 9
    torch.testing.assert_close(alone.tensor[0], drawn.tensor[2], atol=2e-2, rtol=0)
    stages = reverse_stages(model, 2, 3, label=3, seed=7)
    assert stages[0].x.shape == (2, 1, 8, 8)
    torch.testing.assert_close(stages[-1].x, drawn.tensor[:2], atol=2e-2, rtol=0)
    images = digits.held_out.examples(np.arange(4))[0]
    noised = model.invert(images, label=3, steps=50)
    assert noised.shape == (4, 4, 4, 4)
    back = model.sample(noise=noised, label=3, steps=50).tensor
    assert (back - images).square().mean() < 0.1 * (drawn.tensor[:4] - images).square().mean()


def test_losses_over_levels_are_of_codes(digits: Splits, tmp_path: Path) -> None:
    train(a_run(write_codec(tmp_path)), tmp_path / "run", digits, time.monotonic())
    found = level_losses(unstir.load(tmp_path / "run"), digits, 16)
    images, known = (
        part.examples(np.random.default_rng(0).permutation(len(part)))[0]
        for part in (digits.held_out, digits.train)
    )
    expected = 9 * (images[:16] - known.mean(0)).square().double().mean()  # the gain of 3, squared
    torch.testing.assert_close(found.errors["mean"][0], expected, rtol=1e-5, atol=0)


def test_what_moves_between_them_is_found_by_its_verb(digits: Splits, tmp_path: Path) -> None:
    train(a_run(write_codec(tmp_path)), tmp_path / "run", digits, time.monotonic())
    model = unstir.load(tmp_path / "run")
    assert model.asking("draw") is model and model.asking("encode") is model.parts["codec"]
    assert model.config.asking("decode") == model.parts["codec"].config
    with pytest.raises(InputError, match="a diffusion model and cannot fill in"):
        model.asking("inpaint")


def test_images_are_encoded_once(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 1, 8, 8), dtype=np.uint8)
    data = ImageData.from_array(pixels, np.arange(300) % 3)
    codec = unstir.load(write_codec(tmp_path))
    model = seen(data, codec)
    for _ in range(2):
        coded = codes.learned(model, data, flip=True)
    assert sum(count for _, count in Fold.asked) == 600  # plain and mirrored
    rows, flips = np.array([5, 299, 7]), np.array([True, False, True])
    moments, told = coded.examples(rows, flips, ("label",))
    images, _ = data.examples(rows, flips)
    assert torch.equal(moments[:, 0], codec.encode(images)) and told["label"].tolist() == [2, 2, 1]
    (kept,) = (path for path in (tmp_path / "cache/codes").glob("*.npy") if "mirrored" not in path.name)
    kept.write_bytes(b"")
    assert torch.equal(codes.learned(model, data, flip=False).examples(rows)[0][1:2], moments[1:2])
    other = unstir.load(write_codec(tmp_path, gain=2.0))
    changed = codes.learned(seen(data, other), data, flip=False)
    assert torch.equal(changed.examples(rows)[0][:, 0], other.encode(data.examples(rows)[0]))
    (damaged,) = (path for path in (tmp_path / "cache/codes").glob("*-mirrored.npy"))
    damaged.write_bytes(damaged.read_bytes()[:1000])
    assert torch.equal(codes.learned(model, data, flip=True).examples(rows, flips)[0], moments)


def test_no_image_is_read_beside_its_moments(digits: Splits, tmp_path: Path) -> None:
    codec = unstir.load(write_codec(tmp_path))
    coded = codes.learned(seen(digits.train, codec), digits.train, flip=True)
    rows, flips = np.array([3, 8]), np.array([True, False])
    _, told = digits.train.examples(rows, flips)
    coded.data = replace(digits.train, pixels=np.empty((0, 1, 8, 8), np.uint8))
    assert coded.examples(rows, flips)[1]["label"].tolist() == told["label"].tolist()


def test_stopped_and_resumed_equals_uninterrupted(
    digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = a_run(write_codec(tmp_path), images=64, flip=True)
    train(config, tmp_path / "whole", digits, time.monotonic())
    taken = 0
    step = learner.Learner.step

    def stops(self: learner.Learner, rate: float) -> learner.Values:
        nonlocal taken
        taken += 1
        if taken == 4:
            raise KeyboardInterrupt
        return step(self, rate)

    monkeypatch.setattr(learner.Learner, "step", stops)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut", digits, time.monotonic())
    train(config, tmp_path / "cut", digits, time.monotonic())
    one, other = (unstir.load(tmp_path / name).state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_codec_that_has_changed_is_told(digits: Splits, tmp_path: Path) -> None:
    train(a_run(write_codec(tmp_path)), tmp_path / "run", digits, time.monotonic())
    unstir.load(tmp_path / "run")
    write_codec(tmp_path, gain=2.0)
    unstir.load(tmp_path / "run")  # its weights, of which it has none, are the same
    save(
        tmp_path / "fold.safetensors",
        ClassifierConfig(samples=SampleInfo(shape=(1, 8, 8)), labels=("a", "b")).build({}),
    )
    with pytest.raises(InputError, match=r"'codec' of the model, .* has changed since"):
        unstir.load(tmp_path / "run")
    (tmp_path / "fold.safetensors").unlink()
    with pytest.raises(InputError, match="'codec' of the model cannot be used: There is no run folder"):
        unstir.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("shape", "model", "said"),
    [
        ((3, 8, 8), {}, "'codec' is to see images of 1x8x8, and it takes those of 3x8x8"),
        ((1, 8, 8), {"diffusion": DiffusionConfig(objective="bound")}, "learns codes, not pixels"),
        (
            (1, 8, 8),
            {
                "diffusion": DiffusionConfig(
                    parameterization="x0", objective="x0", schedule=ScheduleConfig(name="single")
                )
            },
            "not pixels",
        ),
    ],
)
def test_what_cannot_go_together(
    shape: tuple[int, ...], model: dict[str, object], said: str, digits: Splits, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        train(a_run(write_codec(tmp_path, shape), **model), tmp_path / "run", digits, time.monotonic())
    assert not (tmp_path / "run").exists()


def test_what_a_part_makes_of_images_cannot_be_told(tmp_path: Path) -> None:
    eye = ClassifierConfig(samples=SampleInfo(shape=(1, 8, 8)), labels=("a", "b"))
    parts = {
        "codec": FrozenPart(path="x", model=FoldConfig(samples=SampleInfo(shape=(1, 8, 8)))),
        "eye": FrozenPart(path="y", model=eye),
    }
    told = {"seen": Told(kind="embedding", of="eye")}
    asked = a_run().model.model_copy(update={"parts": parts, "told": told})
    with pytest.raises(InputError, match=r"from which the part 'eye' makes the seen: leave told.seen out"):
        asked.seeing((1, 8, 8), {})


def test_a_part_that_is_no_codec(digits: Splits, tmp_path: Path) -> None:
    classifier = ClassifierConfig(samples=SampleInfo(shape=(1, 8, 8)), labels=("a", "b"))
    save(tmp_path / "other.safetensors", classifier.build({}))
    config = with_named_parts(a_run(), {"codec": tmp_path / "other.safetensors"}, tmp_path / "run")
    with pytest.raises(InputError, match="a classifier of clean images, which cannot encode them"):
        train(config, tmp_path / "run", digits, time.monotonic())


def test_codes_have_no_bounds(digits: Splits, tmp_path: Path) -> None:
    train(a_run(write_codec(tmp_path)), tmp_path / "run", digits, time.monotonic())
    with pytest.raises(InputError, match="no bounds to be clipped to"):
        unstir.load(tmp_path / "run").sample(1, clip="static")
    altered = a_run(write_codec(tmp_path)).model_copy(update={"data": DataConfig(source="digits", augment=0.1)})
    with pytest.raises(InputError, match=r"encoded once: set data.augment=0"):
        train(altered, tmp_path / "altered", digits.augmented(0.1), time.monotonic())


@pytest.mark.parametrize(("fold", "patch"), [(2, 2), (4, 1), (8, 1)])
def test_a_patch_is_of_as_many_pixels_where_it_can(fold: int, patch: int, tmp_path: Path) -> None:
    network = UNetConfig(channels=(16, 16), attention=("none", "none"), patch=4)
    asked = a_run(network=network).model_copy(update={"data": DataConfig(source="digits", augment=0.1)})
    found = for_codes(asked, write_codec(tmp_path, (1, 8, 8), fold=fold))
    assert found.model.network.patch == patch and found.data.augment == 0  # type: ignore[attr-defined]
    assert for_codes(asked, None) == asked


def test_the_doctor_looks_at_codes(digits: Splits, tmp_path: Path) -> None:
    train(a_run(write_codec(tmp_path)), tmp_path / "run", digits, time.monotonic())
    patient = Patient(tmp_path / "run", brief=True)
    images, _ = patient.some(digits.train, 5)
    assert torch.equal(patient.known[:5], patient.model.parts["codec"].encode(images))
    (one,) = patient.asked(patient.predict(), digits.held_out, patient.levels[:1], count=3)
    images, _ = patient.some(digits.held_out, len(one.x0))
    assert torch.equal(one.x0, patient.model.parts["codec"].encode(images))
