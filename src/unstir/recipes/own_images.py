"""Any folder of images: the resolution and the network are chosen from the images and the budget."""

from __future__ import annotations

from typing import NamedTuple

from unstir.data.config import DataConfig
from unstir.data.peek import peek
from unstir.data.sources import check_count, find
from unstir.diffusion.config import DiffusionConfig
from unstir.errors import InputError
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import UNetConfig
from unstir.recipes.request import LABEL, Request, Speed
from unstir.sampling.config import SamplingConfig
from unstir.training.config import Begun, Config, TrainingConfig


class _Choice(NamedTuple):
    network: UNetConfig
    gflop: float
    """The arithmetic of training on one image, in GFLOP."""


_CHOICES = {
    16: _Choice(UNetConfig(channels=(128, 192), blocks=1, attention=("none", "full"), norm="layer"), 3.0),
    32: _Choice(UNetConfig(channels=(128, 192), blocks=1, attention=("none", "full"), patch=2, norm="layer"), 3.0),
    64: _Choice(
        UNetConfig(channels=(128, 192, 256), blocks=1, attention=("none", "none", "full"), patch=2, norm="layer"),
        15.0,
    ),
    96: _Choice(
        UNetConfig(channels=(128, 192, 256), blocks=1, attention=("none", "none", "full"), patch=3, norm="layer"),
        15.0,
    ),
    128: _Choice(
        UNetConfig(
            channels=(128, 192, 256, 320),
            blocks=2,
            attention=("none", "none", "linear", "full"),
            patch=2,
            norm="layer",
        ),
        90.0,
    ),
}

_TRAINING = {"batch": 64, "optimizer": "muon", "learning_rate": 2e-3}

ENOUGH_IMAGES = 200_000
"""A resolution is in reach if the budget lets training see so many images, repeats counted."""

HOUR = 3600.0


def images(request: Request) -> Config:
    """Any folder of your own images: chooses resolution and network from the images and the budget."""
    if request.data is None:
        raise InputError("The recipe 'images' needs --data FOLDER, a folder of your images")
    source = find(request.data)
    if source.kind == "array":
        raise InputError("The recipe 'images' takes a folder; for an array use another recipe with --data")
    seen = peek(source)
    check_count(request.data, seen.images)
    seconds = request.seconds or (None if request.images else HOUR)
    speed = None if seconds is None else request.speed()
    size = _resolution(seen.side, seconds, speed)
    dropout = 0.1 if seen.images < 10_000 else 0.0
    budget = f"{seconds / 60:g} minutes at {speed.words()}" if seconds and speed else f"{request.images:,} images"
    return Config(
        recipe="images",
        note=f"{seen.images:,} images of about {seen.side} pixels and a budget of {budget}: "
        f"{size}x{size} pixels" + (", with dropout, as the images are few" if dropout else ""),
        begun=Begun(gflops=speed.gflops if speed else None),
        data=DataConfig(source=request.data, size=(size, size), flip=True),
        training=request.training(seconds=None if request.images else HOUR, **_TRAINING),
        model=DenoiserConfig(
            told=LABEL,
            network=_CHOICES[size].network.model_copy(update={"dropout": dropout}),
            diffusion=DiffusionConfig(parameterization="v", objective="v"),
            sampling=SamplingConfig(),
        ),
    )


class At32(NamedTuple):
    """How a budget is spent on 32x32 pixels, what the run says of it, and what it is begun with."""

    network: UNetConfig
    training: TrainingConfig
    note: str
    begun: Begun


def at_32(request: Request, seconds: float) -> At32:
    """Return how images of 32x32 pixels are learned that are drawn from what is told.

    A short budget gets a small network in small batches: what is told is learned by the step.

    Args:
        request: What the user asked for.
        seconds: The recipe's own budget.
    """
    network, gflop = _CHOICES[32]
    sized = request.sized(ENOUGH_IMAGES * gflop, seconds)
    training = _TRAINING
    if sized.small:
        network = network.model_copy(update={"channels": (64, 128)})
        training = training | {"batch": 16, "learning_rate": 1e-3}
    return At32(network, request.training(seconds=seconds, **training), sized.note, sized.begun)


def _resolution(side: int, seconds: float | None, speed: Speed | None) -> int:
    """Return the largest resolution that the images have, or nearly, and the budget reaches."""
    in_images = [size for size in _CHOICES if size <= 1.25 * side] or [min(_CHOICES)]
    if seconds is None or speed is None:
        return in_images[-1]
    in_reach = [size for size in in_images if seconds * speed.gflops / _CHOICES[size].gflop >= ENOUGH_IMAGES]
    return (in_reach or in_images[:1])[-1]
