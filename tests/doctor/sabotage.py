"""Runs that are each broken in one known way, and the causes that explain it.

``python tests/doctor/sabotage.py FOLDER`` trains and examines them all, and prints the table of the docs; what was
trained before is only examined again.
"""

from __future__ import annotations

import copy
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from unstir.cli.main import run
from unstir.data.config import DataConfig
from unstir.data.load import load
from unstir.diffusion import Denoise, NoiseLevel, Prediction
from unstir.doctor.examine import Diagnosis, examine
from unstir.doctor.patient import Patient
from unstir.tensors import read_tensors, write_tensors

SMALL = ("network.channels=[24,48]", "training.batch=32", "training.learning_rate=0.002", "training.warmup=20")
IMAGES = 12_000
MOST = 3000
"""Images of a set that a broken one is made of."""
SINUSOIDS = "unstir.networks.embedding.sinusoids"
PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "cifar10"
"""Not there in a clone elsewhere: what takes photographs is left out then."""

Told = dict[str, Any]
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Sabotage:
    """A way to break a run.

    Attributes:
        what: What is broken.
        causes: One of which the first finding should name.
        settings: Training's, beside those of the healthy run.
        images: How many training sees.
        pixels: What is done to the training images first; None for nothing.
        told: What is done to the model's configuration afterwards.
        tensors: What is done to its weights, given those of the newest checkpoint too.
        healthy_data: Whether it is examined on the healthy images.
        source: The data set.
        patch: What is another value in training, examination and drawing: its full name, and the value.
        checkpoint: What is done to the newest checkpoint's tensors halfway, before training goes on.
    """

    what: str
    causes: tuple[str, ...]
    settings: tuple[str, ...] = ()
    images: int = IMAGES
    pixels: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
    told: Callable[[Told], None] | None = None
    tensors: Callable[[Tensors, Tensors], Tensors] | None = None
    healthy_data: bool = False
    source: str = "digits"
    patch: tuple[str, Any] | None = None
    checkpoint: Callable[[Tensors], Tensors] | None = None

    @property
    def trains(self) -> bool:
        """Whether it has to be trained anew, and is no healthy run with another file."""
        anew = (self.settings, self.pixels, self.patch, self.checkpoint)
        return any(each is not None and each != () for each in anew) or self.images != IMAGES


def _only(keep: Callable[[np.ndarray], np.ndarray]) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    def part(pixels: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        chosen = keep(labels)
        return pixels[chosen], labels[chosen]

    return part


def _set(**values: Any) -> Callable[[Told], None]:
    def change(told: Told) -> None:
        for path, value in values.items():
            place, *names = told, *path.split("__")
            for name in names[:-1]:
                place = place[name]
            place[names[-1]] = value

    return change


def _fresh(weights: Tensors) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: 0.8 * value[torch.randperm(len(value), generator=generator)].flip(-1) if value.dim() > 1 else value
        for name, value in weights.items()
    }


def _lagging(weights: Tensors, newest: Tensors) -> Tensors:
    fresh = _fresh(weights)
    return {name: 0.7 * fresh[name] + 0.3 * value for name, value in weights.items()}


def _deaf(part: str) -> Callable[[Tensors, Tensors], Tensors]:
    def change(weights: Tensors, newest: Tensors) -> Tensors:
        return {name: torch.zeros_like(value) if part in name else value for name, value in weights.items()}

    return change


def _average_lost(tensors: Tensors) -> Tensors:
    fresh = _fresh({name: value for name, value in tensors.items() if name.startswith("average.")})
    return {**tensors, **fresh}


def _clipped_to_1(denoise: Denoise) -> Denoise:
    def clipped(x: Tensor, level: NoiseLevel) -> Prediction:
        prediction = denoise(x, level)
        return prediction.with_x0(prediction.x0.clamp(0, 1), x)

    return clipped


def _half_exchanged(pixels: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = pixels.copy()
    x[::2] = x[::2, ::-1]
    return x, labels


SABOTAGES = (
    Sabotage("pixels in [0, 1]", ("range",), pixels=lambda x, y: ((x > 127).astype(np.uint8), y)),
    Sabotage("inverted", ("pixels",), pixels=lambda x, y: (255 - x, y), healthy_data=True),
    Sabotage("an eighth of the contrast", ("range", "pixels"), pixels=lambda x, y: (112 + x // 8, y)),
    Sabotage("50 images", ("few images", "memorized", "copies"), pixels=_only(lambda y: np.arange(50))),
    Sabotage(
        "duplicates", ("duplicates",), pixels=_only(lambda y: np.random.default_rng(0).integers(0, 300, len(y)))
    ),
    Sabotage(
        "linear schedule of 100 levels",
        ("signal left",),
        ("diffusion.schedule.name=linear", "diffusion.schedule.steps=100"),
    ),
    Sabotage(
        "zero signal left out of the grid",
        ("wrong first step",),
        told=_set(sampling__spacing="leading", sampling__steps=5),
    ),
    Sabotage(
        "channels exchanged in half the set",
        ("channel order",),
        ("data.size=16",),
        images=3000,
        pixels=_half_exchanged,
        source=str(PHOTOGRAPHS),
    ),
    Sabotage(
        "time divided by 1000", ("time",), patch=("unstir.networks.embedding.sinusoids.__defaults__", (1.0,))
    ),
    Sabotage("resumed without the average", ("average", "average lost"), checkpoint=_average_lost),
    Sabotage("clipped to [0, 1]", ("range of samples",), patch=("unstir.sampling.draw.clipped", _clipped_to_1)),
    Sabotage("time not heard", ("time",), tensors=_deaf("embedding.")),
    Sabotage("average never updated", ("average",), tensors=lambda weights, newest: _fresh(weights)),
    Sabotage("average too long", ("average",), tensors=_lagging),
    Sabotage("no average", ("no average",), tensors=lambda weights, newest: newest),
    Sabotage("labels shuffled", ("labels",), pixels=lambda x, y: (x, np.random.default_rng(1).permutation(y))),
    Sabotage("labels not reaching the network", ("label not heard",), tensors=_deaf("conditioner.")),
    Sabotage(
        "a class missing",
        ("missing class",),
        pixels=_only(lambda y: np.sort(np.r_[np.flatnonzero(y != 3), np.flatnonzero(y == 3)[:3]])),
    ),
    Sabotage("learning rate 100 times too high", ("learning rate too high",), ("training.learning_rate=0.2",)),
    Sabotage("learning rate 100 times too low", ("learning rate too low",), ("training.learning_rate=0.00001",)),
    Sabotage("hardly trained", ("hardly trained", "broken"), images=640),
    Sabotage(
        "eps read as v",
        ("parameterization",),
        ("diffusion.parameterization=eps", "diffusion.objective=simple"),
        told=_set(diffusion__parameterization="v"),
    ),
    Sabotage("v read as x0", ("parameterization",), told=_set(diffusion__parameterization="x0")),
    Sabotage(
        "another schedule", ("schedule", "another configuration"), told=_set(diffusion__schedule__name="linear")
    ),
    Sabotage("guidance 20", ("guidance",), told=_set(sampling__guidance=20.0)),
    Sabotage(
        "4 ancestral steps",
        ("too few steps",),
        told=_set(sampling__sampler={"name": "ddpm", "variance": "small"}, sampling__steps=4),
    ),
    Sabotage(
        "a network of 1 %",
        ("small network", "hardly trained"),
        ("network.channels=[8]", "network.attention=[none]"),
    ),
    Sabotage(
        "weights rounded to 16 bits",
        ("rounded weights",),
        tensors=lambda weights, newest: {n: v.half().float() for n, v in weights.items()},
    ),
    Sabotage(
        "300 epochs of 100 images",
        ("memorized", "few images", "copies"),
        pixels=_only(lambda y: np.arange(100)),
        images=2 * IMAGES,
    ),
)


def train_healthy(folder: Path) -> Path:
    """Train the run that all are broken from."""
    return _train(folder, "digits", (), IMAGES)


def examined(sabotage: Sabotage, healthy: Path, folder: Path) -> Diagnosis:
    """Break a run, unless that was done before, and examine it."""
    with patch(*sabotage.patch) if sabotage.patch else nullcontext():
        if not folder.exists():
            _break(sabotage, healthy, folder)
        return examine(Patient(folder, "digits" if sabotage.healthy_data else None))


def _break(sabotage: Sabotage, healthy: Path, folder: Path) -> None:
    if sabotage.trains:
        source = sabotage.source
        if sabotage.pixels is not None:
            train = load(DataConfig(source=source)).train
            some = slice(None, None, -(-len(train) // MOST))  # the photographs lie by classes
            pixels, labels = sabotage.pixels(train.pixels[some], train.labels[some])
            source = str(folder.with_suffix(".npz"))
            np.savez(source, images=pixels, labels=labels)
        if sabotage.checkpoint is not None:
            _train(folder, source, sabotage.settings, sabotage.images // 2)
            newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
            about, tensors = read_tensors(newest)
            write_tensors(newest, sabotage.checkpoint(tensors), about.told)
        broken = _train(folder, source, sabotage.settings, sabotage.images)
    else:
        broken = Path(shutil.copytree(healthy, folder))
    if sabotage.told or sabotage.tensors:
        about, weights = read_tensors(broken / "model.safetensors")
        told = copy.deepcopy(dict(about.told))
        if sabotage.told:
            sabotage.told(told["model"])
        if sabotage.tensors:
            checkpoint = sorted((broken / "checkpoints").glob("step-*"))[-1]
            learned, newest = read_tensors(checkpoint)
            weights = dict(sabotage.tensors(weights, {name: newest[f"model.{name}"] for name in weights}))
            newest = {**newest, **{f"average.{name}": value.clone() for name, value in weights.items()}}
            write_tensors(checkpoint, newest, learned.told)
        write_tensors(broken / "model.safetensors", {n: v.contiguous() for n, v in weights.items()}, told)


def _train(folder: Path, source: str, settings: Iterable[str], images: int) -> Path:
    every = [word for setting in (*SMALL, *settings) for word in ("--set", setting)]
    assert run(["train", "digits", "--data", source, "--images", str(images), "--out", str(folder), *every]) == 0
    return folder


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    well = place / "healthy"
    well = well if well.exists() else train_healthy(well)
    print("healthy:", [finding.cause for finding in examine(Patient(well)).findings], flush=True)
    for number, one in enumerate(SABOTAGES):
        if sys.argv[2:] and str(number) not in sys.argv[2:]:
            continue
        found = examined(one, well, place / f"{number}").findings
        good = bool(found) and found[0].cause in one.causes
        print(
            f"| {number} {one.what} | {'yes' if good else 'NO'} | "
            f"{', '.join(f'{f.cause} {f.weight:.2f}' for f in found[:3])} |",
            flush=True,
        )
