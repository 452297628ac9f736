"""A model told degraded pictures: known pixels are left alone, in training, in drawing and in what is returned."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unstir.config import checked
from unstir.data import degradations as ways
from unstir.data.dataset import ImageData, Splits
from unstir.diffusion import NoiseLevel, Prediction
from unstir.diffusion.schedule import cosine
from unstir.errors import InputError
from unstir.models import palette
from unstir.models.config import systems
from unstir.models.denoiser import DenoiserModel
from unstir.networks.told import Told

NAMES = ("colorization", "inpainting", "uncropping", "jpeg", "super-resolution")
TOLD = {"degraded": Told(kind="picture"), "task": Told(kind="classes")}


@pytest.fixture(scope="module")
def data() -> ImageData:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 3, 9, 12), dtype=np.uint8)
    set_ = ImageData.from_array(pixels)
    return Splits(set_, set_).degraded(NAMES).train


def made(data: ImageData, **values: Any) -> DenoiserModel:
    own: dict[str, Any] = {
        "kind": "denoiser",
        "precision": "float32",
        "network": {"kind": "plain", "channels": [16, 32]},
        "told": TOLD,
        "diffusion": {"parameterization": "v", "objective": "v"},
        "sampling": {"steps": 6},
    }
    config = checked(systems["denoiser"], own | values).seeing(data.shape, data.facts())
    torch.manual_seed(0)
    model = config.build({}).eval().requires_grad_(False)
    for parameter in model.parameters():
        if not parameter.any():  # so that all take part
            parameter.normal_(std=0.1)
    return model  # type: ignore[return-value]


@pytest.fixture(scope="module")
def model(data: ImageData) -> DenoiserModel:
    return made(data)


def batch_of(model: DenoiserModel, data: ImageData) -> Any:
    return model.prepare(data.examples(range(30)), torch.Generator().manual_seed(0))  # type: ignore[arg-type]


def test_known_pixels_are_predicted_as_they_are_with_the_noise_there_is(data: ImageData) -> None:
    x0, given = data.examples(range(30))  # type: ignore[arg-type]
    told = {name: torch.as_tensor(value) for name, value in given.items()}
    known = palette.Known.of(made(data).condition(told))
    assert known is not None
    hiding = torch.isin(told["task"], torch.tensor([1, 2]))
    mask = told["degraded"][:, -1:].bool()
    assert torch.equal(known.pixels, ~mask & hiding[:, None, None, None])
    level, eps = cosine().level(300), torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))

    def nonsense(x: Tensor, level: NoiseLevel) -> Prediction:
        return Prediction(torch.full_like(x, 7.0), torch.full_like(x, 8.0), level)

    found = known(nonsense)(level.noise(x0, eps), level)
    there = known.pixels.expand_as(x0)
    torch.testing.assert_close(found.eps[there], eps[there])
    assert torch.equal(found.x0[there], x0[there])
    assert (found.x0[~there] == 7).all() and (found.eps[~there] == 8).all()


def test_the_loss_is_the_mean_over_hidden_pixels(model: DenoiserModel, data: ImageData) -> None:
    batch = batch_of(model, data)
    loss = model.losses("main", batch, model)["loss"]
    told, _ = batch["condition"].parts["degraded"]
    x0, level, eps = batch["x0"], batch["level"], batch["eps"]
    prediction = model.denoiser(level.noise(x0, eps), level, batch["condition"])
    error = (prediction.v - Prediction(x0, eps, level).v) ** 2
    for i in range(30):
        hidden = told[i, -1].bool()
        counted = error[i][:, hidden] if hidden.any() else error[i]
        torch.testing.assert_close(loss[i], counted.mean(), rtol=1e-4, atol=1e-5)
    assert (told[:, -1].flatten(1).any(1)).sum() > 5


def test_of_what_is_known_the_network_learns_nothing(data: ImageData) -> None:
    """A change of the known pixels of the truth changes no gradient but through what is told and noised."""
    model = made(data)
    batch = batch_of(model, data)
    x = batch["level"].noise(batch["x0"], batch["eps"]).requires_grad_()
    known = model.known(batch["condition"])
    assert known is not None
    output = known(model.denoiser)(x, batch["level"], batch["condition"]).x0
    there = known.pixels.expand_as(output)
    (gradient,) = torch.autograd.grad(output[there].sum(), x, allow_unused=True, retain_graph=True)
    assert not gradient.any()
    (gradient,) = torch.autograd.grad(output[~there].sum(), x)
    assert gradient.any()


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm++2m", "heun"])
def test_while_an_image_is_drawn_its_known_pixels_are_what_they_are_in_training(
    model: DenoiserModel, data: ImageData, sampler: str
) -> None:
    """At each level they differ from alpha x0 by sigma times noise of variance 1, whatever the solver."""
    row = next(i for i in range(30) if int(data.examples([i])[1]["task"][0]) == 2)  # type: ignore[arg-type]
    x0, given = data.examples([row] * 60)
    condition = model.condition(given)
    known = model.known(condition)
    assert known is not None
    from unstir.models.drawing import Order
    from unstir.sampling import grid

    settings = model.config.drawing({"sampler": sampler, "steps": 6, "clip": "none"})
    levels = grid(model.schedule, 6, settings.spacing)[1:]
    there = known.pixels.expand_as(x0)
    with torch.no_grad():
        for x, level in zip(model.walk(Order(range(60), condition, settings)), levels, strict=True):
            noise = (x - level.alpha * x0)[there]
            if level.sigma == 0:
                assert not noise.any()
            else:
                assert abs(float(noise.std() / level.sigma) - 1) < 0.03


def test_known_pixels_have_the_posteriors_variance_whatever_the_network_says() -> None:
    known = palette.Known(torch.zeros(1, 1, 2, 2), torch.tensor([[[[True, False], [False, True]]]]))
    level = cosine().level(300)

    def denoise(x: Tensor, level: NoiseLevel) -> Prediction:
        return Prediction(x, x, level, torch.ones_like(x), torch.ones_like(x))

    found = known(denoise)(torch.ones(1, 1, 2, 2), level)
    assert torch.equal(found.variance, (~known.pixels).float()) and torch.equal(found.drift, found.variance)


def test_what_is_told_of_a_users_picture_is_what_was_told_in_training(data: ImageData) -> None:
    config = made(data).config
    for number, name in enumerate(NAMES):
        way = Splits(data, data).degraded((name,)).train
        images, given = way.examples(range(30))  # type: ignore[arg-type]
        degraded = torch.as_tensor(given["degraded"])
        masked = name in ("inpainting", "uncropping")
        pictures = images if masked else palette.gray(images) if number == 0 else degraded[:, :-1]
        found = palette.told(config, name, pictures, degraded[:, -1:].bool() if masked else None)
        assert {*found} == {"degraded", "task"} and (found["task"] == number).all()
        assert (found["degraded"] - degraded).abs().max() < (1e-6 if number else 1.01 / 127.5)
    assert (palette.DEGRADED, palette.TASK) == (ways.DEGRADED, ways.TASK)


def test_edited_pictures_keep_their_known_pixels_bit_for_bit_at_any_size(model: DenoiserModel) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 3, 14, 11), dtype=np.uint8)
    images = torch.tensor(pixels) / 127.5 - 1
    mask = torch.zeros(1, 1, 14, 11, dtype=torch.bool)
    mask[..., 3:9, 2:7] = True
    edited = model.edit("inpainting", images, mask, seed=5)
    assert torch.equal(edited.tensor.masked_fill(mask, 0), images.masked_fill(mask, 0))
    assert np.array_equal(edited.bytes().numpy()[:, :, ~mask[0, 0]], pixels[:, :, ~mask[0, 0].numpy()])
    assert (edited.bytes().numpy() != pixels)[:, :, mask[0, 0].numpy()].mean() > 0.9
    alone = model.edit("inpainting", images[2:3], mask, seed=7)
    torch.testing.assert_close(alone.tensor, edited.tensor[2:3])
    # What the hidden pixels were makes no difference.
    again = model.edit("inpainting", torch.where(mask, 0.3, images), mask, seed=5)
    assert torch.equal(again.tensor, edited.tensor)
    several = model.edit("uncropping", images[:1].expand(3, -1, -1, -1), mask)
    assert len({tuple(x.flatten().tolist()) for x in several.tensor}) == 3


def test_colours_reach_no_model_that_is_to_find_them(model: DenoiserModel) -> None:
    images = torch.rand(2, 3, 9, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(
        model.edit("colorization", images).tensor, model.edit("colorization", palette.gray(images)).tensor
    )
    first, second = (model.edit(task, images).tensor for task in ("jpeg", "super-resolution"))
    assert not torch.equal(first, second)  # it is told which


def test_what_cannot_be_edited_is_said(model: DenoiserModel, data: ImageData) -> None:
    images, mask = torch.zeros(2, 3, 9, 12), torch.ones(2, 1, 9, 12, dtype=torch.bool)
    flat = made(data, network={"kind": "fully_connected", "widths": [32]})
    plain = made(ImageData.from_array(data.pixels))
    part = made(Splits(data, data).degraded(("jpeg", "inpainting")).train)
    cases: list[tuple[DenoiserModel, tuple[Any, ...], str]] = [
        (part, ("colorization", images), "not trained for colorization: its tasks are jpeg, inpainting"),
        (model, ("inpainting", images), "The task inpainting needs a mask"),
        (model, ("jpeg", images, mask), "The task jpeg takes no mask"),
        (model, ("inpainting", images, mask.float()), "has to be bool (2 or 1, 1, 9, 12), not float32"),
        (
            model,
            ("inpainting", images, mask[..., 1:]),
            "has to be bool (2 or 1, 1, 9, 12), not bool (2, 1, 9, 11)",
        ),
        (model, ("jpeg", images[:, :1]), "images have 3 channels, and this one has 1"),
        (flat, ("jpeg", torch.zeros(1, 3, 8, 8)), "takes 12 by 9 alone"),
        (plain, ("jpeg", images), "is a diffusion model and cannot restore degraded pictures"),
    ]
    for one, arguments, said in cases:
        with pytest.raises(InputError, match=re.escape(said)):
            one.edit(*arguments)
    with pytest.raises(InputError, match="Drawing without it needs"):
        model.sample(2)
