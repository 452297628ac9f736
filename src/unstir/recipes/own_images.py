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
from unstir.quantities import duration
from unstir.recipes.request import LABEL, Request, Speed
from unstir.sampling.config import DPM2MConfig, SamplingConfig
from unstir.training.config import Begun, Config, TrainingConfig


class _Rung(NamedTuple):
    """A resolution and a network that a budget may reach.

    Attributes:
        size: The side of the images in pixels.
        grid: About how many patches are on a side of what the network sees.
        network: The network on these patches.
        gflop: The arithmetic of training on one image, in GFLOP, as if it went at the speed of large batches.
        images: How many training should see, repeats counted; a budget that allows fewer does not reach it.
    """

    size: int
    grid: int
    network: UNetConfig
    gflop: float
    images: int

    def seconds(self, gflops: float) -> float:
        """Return how long that takes at so many GFLOP/s."""
        return self.images * self.gflop / gflops


_COARSE = UNetConfig(channels=(128, 192), blocks=1, attention=("none", "full"), norm="layer")
_MIDDLE = UNetConfig(channels=(128, 192, 256), blocks=1, attention=("none", "none", "full"), norm="layer")
_FINE = UNetConfig(
    channels=(128, 192, 256, 320), blocks=2, attention=("none", "none", "linear", "full"), norm="layer"
)

_LADDER = (
    _Rung(32, 16, _COARSE, 6.0, 20_000),
    _Rung(64, 16, _COARSE, 6.0, 20_000),
    _Rung(64, 32, _MIDDLE, 20.0, 75_000),
    _Rung(128, 32, _MIDDLE, 20.0, 75_000),
    _Rung(128, 64, _FINE, 90.0, 100_000),
    _Rung(256, 64, _FINE, 90.0, 100_000),
)
"""From the quickest to the slowest."""

_TRAINING = {"batch": 32, "optimizer": "muon", "learning_rate": 1e-3}

ENOUGH_AT_32 = 600_000.0
"""The arithmetic, in GFLOP, from which on a large network pays where what is drawn hangs on what is told."""

ALTERED, OFTEN = 0.12, 150
"""How probably each change is made to images, where each would be looked at more often than that."""

GUIDANCE = 1.0
"""Weight with which samples are drawn, where there are labels."""

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
    size, rung, why = _chosen(seen.side, request.size, seconds, speed)
    looks = request.images or (seconds * speed.gflops / rung.gflop if seconds and speed else 0)
    often = looks > OFTEN * seen.images and not seen.pictured
    return Config(
        recipe="images",
        note=f"{seen.images:,} images of about {seen.side} pixels: {why}"
        + (f"; altered at random, as each is looked at {looks / seen.images:,.0f} times" if often else ""),
        begun=Begun(gflops=speed.gflops if speed else None),
        data=DataConfig(source=request.data, size=(size, size), augment=ALTERED if often else 0.0),
        training=request.training(seconds=None if request.images else HOUR, **_TRAINING),
        model=DenoiserConfig(
            told=LABEL,
            network=rung.network.model_copy(update={"patch": max(1, round(size / rung.grid))}),
            diffusion=DiffusionConfig(parameterization="v", objective="v"),
            sampling=SamplingConfig(sampler=DPM2MConfig(), steps=20, spacing="log_snr", guidance=GUIDANCE),
        ),
    )


def _chosen(side: int, asked: int | None, seconds: float | None, speed: Speed | None) -> tuple[int, _Rung, str]:
    """Return the size of images, the rung that they are learned on, and why: the highest rung in reach.

    Args:
        side: Of the images there are, in pixels.
        asked: The size that the user wants, or None.
        seconds: The budget; None if it is in images.
        speed: What training reaches, where the budget is in time.
    """
    if asked is None:
        fitting = [rung for rung in _LADDER if rung.size <= 1.25 * side] or [_LADDER[0]]
    else:
        size = min((rung.size for rung in _LADDER if rung.size >= asked), default=_LADDER[-1].size)
        fitting = [rung for rung in _LADDER if rung.size == size]
    if seconds is None or speed is None:
        rung = fitting[-1]
        return asked or rung.size, rung, f"{_square(asked or rung.size)} pixels, whatever time that takes"
    needed = [rung.seconds(speed.gflops) for rung in fitting]
    reached = max((place for place, time in enumerate(needed) if time <= seconds), default=0)
    rung, size = fitting[reached], asked or fitting[reached].size
    why = f"{_square(size)} pixels in {duration(seconds)} at {speed.words()}"
    if needed[reached] > seconds:
        why += f"; to learn them well takes about {duration(needed[reached])}"
    elif reached + 1 < len(fitting):
        finer = fitting[reached + 1]
        what = f"{_square(finer.size)} pixels" if finer.size > rung.size else "a finer network"
        why += f"; {what} would take about {duration(needed[reached + 1])}"
    return size, rung, why


def _square(size: int) -> str:
    return f"{size}x{size}"


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
    rung, training = _LADDER[0], _TRAINING | {"batch": 64, "learning_rate": 2e-3}
    network = rung.network.model_copy(update={"patch": 2})
    sized = request.sized(ENOUGH_AT_32, seconds)
    if sized.small:
        network = network.model_copy(update={"channels": (64, 128)})
        training = training | {"batch": 16, "learning_rate": 1e-3}
    return At32(network, request.training(seconds=seconds, **training), sized.note, sized.begun)
