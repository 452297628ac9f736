"""A run under examination: its model, its data and its log, and what several checks measure of them, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unstir.data.dataset import ImageData
from unstir.data.load import load as load_images
from unstir.diffusion import Condition, NoiseLevel, Prediction, Schedule
from unstir.diffusion.config import DiffusionConfig
from unstir.diffusion.denoiser import TimeOf
from unstir.doctor.gaussian import Gaussian
from unstir.doctor.trace import Trace
from unstir.errors import InputError
from unstir.models.config import CODEC
from unstir.models.file import load, read_config
from unstir.models.samples import Samples
from unstir.networks.told import AUGMENTATION
from unstir.sampling import SeededNoise
from unstir.tensors import read_tensors
from unstir.training.checkpoint import Position, newest_checkpoint
from unstir.training.log import lines
from unstir.training.run_folder import RunFolder, data_of

LEVELS, FEW_LEVELS = 10, 5
IMAGES, FEW_IMAGES = 64, 16
"""Held-out images, and as many training ones, that losses are measured on; fewer at a first look."""
PASS = 8.0
"""Seconds that measuring the losses of one set should take: a slow network is asked about fewer images."""
DRAWN, LEAST_DRAWN, DRAWING = 64, 16, 40.0
"""Samples that are looked at, and how few they may be where more would take longer than so many seconds."""
QUICK = 25
"""Evaluations with which samples are drawn where even so few would."""
FIRST_DRAWING, FIRST_QUICK = 4.0, 10
"""The same at a first look."""
KNOWN, NUMBERS = 5000, 20_000_000
"""Training images, and numbers in them, at most, that the data is known by."""
FARTHEST = 60.0
"""Levels are looked at where sigma / alpha lies between this and its inverse."""

Predict = Callable[[Tensor, NoiseLevel, Condition | None], Prediction]


class Asked(NamedTuple):
    """Images, or their codes, x0 (N, C, H, W), noised to a level as x, and what is predicted of them."""

    level: NoiseLevel
    x0: Tensor
    x: Tensor
    answer: Tensor


class Walked(NamedTuple):
    """Samples, where they came by, and what to say of how they were drawn, if not as the run draws."""

    samples: Samples
    trace: Trace
    otherwise: str


class Patient:
    """A run.

    Args:
        run: Its folder, or a model file.
        data: Where its images are now; None: where they were.
        seed: Of the images that are looked at, and of their noise.
        brief: Whether to look at few images and levels.

    Attributes:
        config: The model's configuration.
        begun: The run's; None of a model without its run.
        model: With the averaged weights.
        splits: The run's images.
        log: What training measured, a mapping for each line.
        position: Where training stands; None of a model without its run.

    Raises:
        InputError: If there is no such run, or its data cannot be had or is of another shape.
    """

    def __init__(self, run: Path, data: str | None = None, seed: int = 0, brief: bool = False) -> None:
        self.run, self.seed, self.brief = run, seed, brief
        weights, self.config = read_config(run)
        self.folder = RunFolder(weights.parent)
        whole = run.is_dir() and self.folder.config.exists()
        self.begun = self.folder.read_config() if whole else None
        self.log: list[dict[str, Any]] = lines(self.folder.metrics) if whole else []
        newest = newest_checkpoint(self.folder) if whole else None
        self.position: Position | None = newest[1] if newest else None
        self.checkpoint = newest[0] if newest else None
        self.splits = load_images(data_of(run, data))
        if self.splits.train.shape != self.config.image_shape:
            ours, theirs = (
                "x".join(map(str, shape)) for shape in (self.config.image_shape, self.splits.train.shape)
            )
            raise InputError(
                f"The run's samples are {ours}, and the images of '{self.splits.train.name}' are {theirs}"
            )
        self.model = load(run)

    def some(self, data: ImageData, count: int) -> tuple[Tensor, Mapping[str, Any]]:
        """Return some images of a set, float32 in [-1, 1], and what is known of them; all if there are no more."""
        chosen = np.random.default_rng(self.seed).permutation(len(data))[:count]
        return data.examples(chosen, names=self.config.reads)

    def learned(self, images: Tensor) -> Tensor:
        """Return what a model learns of images: themselves, or their codes."""
        codec: Any = self.model.parts.get(CODEC)
        return images if codec is None else codec.encode(images)  # type: ignore[no-any-return]

    @cached_property
    def known(self) -> Tensor:
        """What is learned of training images, as many as are looked at for what the data is."""
        return self.learned(self.some(self.splits.train, self._enough)[0])

    @cached_property
    def gaussian(self) -> Gaussian:
        """What is learned as a normal distribution."""
        return Gaussian(self.known, self.learned(self.some(self.splits.held_out, self._enough)[0]))

    @property
    def _enough(self) -> int:
        return max(IMAGES, min(KNOWN, NUMBERS // int(np.prod(self.splits.train.shape))))

    @property
    def diffusion(self) -> DiffusionConfig:
        """Of a model that predicts."""
        return self.config.diffusion  # type: ignore[attr-defined, no-any-return]

    @property
    def schedule(self) -> Schedule:
        """Of a model that predicts."""
        return self.model.schedule  # type: ignore[union-attr, return-value]

    @cached_property
    def levels(self) -> list[NoiseLevel]:
        """Levels from noise to data, evenly in log-SNR."""
        return levels_of(self.schedule, FEW_LEVELS if self.brief else LEVELS)

    @cached_property
    def loss(self) -> Tensor:
        """The mean squared error of x0 on held-out images at each level, float64 (L,)."""
        return errors(self.asked(self.predict(), self.splits.held_out)).mean(1)

    @cached_property
    def training_loss(self) -> Tensor:
        """The same on training images."""
        return errors(self.asked(self.predict(), self.splits.train)).mean(1)

    @cached_property
    def ceiling(self) -> Tensor:
        """What a linear denoiser would have on the held-out images at each level, float64 (L,)."""
        return torch.tensor([self.gaussian.ceiling(level) for level in self.levels], dtype=torch.float64)

    @cached_property
    def power(self) -> float:
        """The power of the images seen as which the loss fell before its rate did; 0 where too little is known."""
        known = np.array([(line["images"], line["loss"]) for line in self.log if line.get("loss", 0) > 0])
        if len(known) <= 8:
            return 0.0
        part = known[len(known) // 5 : max(len(known) // 5 + 3, int(0.7 * len(known)))]
        return float(np.polyfit(*np.log(part).T, 1)[0])

    @cached_property
    def state(self) -> Mapping[str, Tensor]:
        """The tensors of the newest checkpoint by their names; {} without one."""
        return {} if self.checkpoint is None else read_tensors(self.checkpoint)[1]

    @cached_property
    def raw(self) -> Any | None:
        """The model with the weights that were trained, not averaged; None without a checkpoint."""
        if self.checkpoint is None:
            return None
        other = load(self.run)
        other.load_state_dict(within(self.state, "model."))
        return other

    @property
    def guided(self) -> bool:
        """Whether the run draws with guidance, and has something to be guided by."""
        return bool(self.config.told) and bool(getattr(self.config.drawing({}), "guidance", 0))

    @cached_property
    def walked(self) -> Walked:
        """Samples as the run draws them by default, and their way; fewer, or in few steps, if that is slow."""
        model: Any = self.model
        predicts = "predict" in self.config.verbs
        count, quick, otherwise = DRAWN, dict[str, object](), ""
        drawing, fewest = (FIRST_DRAWING, FIRST_QUICK) if self.brief else (DRAWING, QUICK)
        if predicts:
            each = self.seconds * model.config.drawing({}).evaluations
            count = int(min(DRAWN, max(LEAST_DRAWN, drawing / max(each, 1e-9))))
            if count * each > 2 * drawing:
                quick = model.quick(fewest)
                otherwise = f"; drawn in {fewest} evaluations, as the run's own would take too long"
        trace = Trace()
        images, given = self.some(self.splits.held_out, count)
        how: dict[str, object] = {"guide": trace} if predicts else {}
        condition = self.model.condition(given, images)
        if condition is not None:
            # Of what it cannot do without, a degraded picture say, it is told what is known of held-out images.
            told = {name: value for name, (value, _) in condition.parts.items() if self._indispensable(name)}
            if told:
                how, count = how | {"told": told}, len(images)
        drawn = model.sample(count, seed=self.seed, batch=count, **quick, **how)
        return Walked(drawn, trace, otherwise)

    def _indispensable(self, name: str) -> bool:
        one = self.config.told[name]
        return one.dropout == 0 and one.kind != "text" and name not in ("label", AUGMENTATION)

    @cached_property
    def seconds(self) -> float:
        """What asking the network about one image takes, among a few and after a first time."""
        images, given = self.some(self.splits.held_out, FEW_IMAGES // 2)
        condition, x0 = self._told(given, images), self.learned(images)
        for _ in range(2):
            began = time.monotonic()
            with torch.no_grad():
                self.predict()(x0.to(self.model.device), self.levels[0], condition).x0.cpu()
        return (time.monotonic() - began) / len(images)

    @cached_property
    def share(self) -> float:
        """The part of the images that there is time to ask about."""
        share = FEW_IMAGES / IMAGES if self.brief else 1.0
        return min(share, PASS / (IMAGES * LEVELS * self.seconds))

    def predict(self, diffusion: DiffusionConfig | None = None, time: TimeOf | None = None) -> Predict:
        """Return what the model predicts; read as another diffusion's, or told other times, if these are given."""
        return self.model.predicting(diffusion, time)  # type: ignore[operator, no-any-return]

    def _told(self, given: Mapping[str, Any], images: Tensor) -> Condition | None:
        """Return what is told of images, on the model's device."""
        condition = self.model.condition(given, images)
        return None if condition is None else condition.to(self.model.device)

    def asked(
        self,
        predict: Predict,
        data: ImageData,
        levels: Sequence[NoiseLevel] | None = None,
        count: int = IMAGES,
        pixels: Callable[[Tensor], Tensor] = lambda x: x,
        told: Callable[[Condition], Condition | None] = lambda condition: condition,
    ) -> Iterator[Asked]:
        """Yield what is predicted of images at each level, always under the same noise.

        Args:
            predict: What is asked.
            data: The images' set.
            levels: None for the run's.
            count: How many images, at most; a slow network is asked about a part of them.
            pixels: What is done to the images first.
            told: What is done to what is told of them.
        """
        images, given = self.some(data, max(FEW_IMAGES // 2, round(self.share * count)))
        x0 = pixels(self.learned(images))
        condition = self._told(given, images)
        condition = None if condition is None else told(condition)
        eps = SeededNoise(range(self.seed, self.seed + len(x0)))(x0)
        for level in self.levels if levels is None else levels:
            x = level.noise(x0, eps)
            with torch.no_grad():
                answer = predict(x.to(self.model.device), level, condition).x0.cpu()
            yield Asked(level, x0, x, answer)


def errors(asked: Iterable[Asked]) -> Tensor:
    """Return the mean squared error of x0 of each image at each level, float64 (L, N)."""
    return torch.stack([(one.answer - one.x0).pow(2).double().flatten(1).mean(1) for one in asked])


def within(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return those tensors whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def levels_of(schedule: Schedule, count: int) -> list[NoiseLevel]:
    """Return levels of a schedule from noise to data, evenly in log-SNR, where sigma / alpha is in reach."""
    limit = 2 * float(np.log(FARTHEST))
    ends = float(schedule(1.0).log_snr), float(schedule(schedule.t_min).log_snr)
    log_snr = torch.linspace(max(ends[0], -limit), min(ends[1], limit), count, dtype=torch.float64)
    return [schedule(t) for t in schedule.time(log_snr)]
