"""What is measured: networks, batches and steps, written once as unstir configurations.

Every contender builds its own network from the same values: widths, blocks, attention, dropout, image, batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData
from unstir.diffusion.config import DiffusionConfig, ScheduleConfig
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import UNetConfig
from unstir.recipes import recipe
from unstir.recipes.request import Request
from unstir.sampling.config import SamplingConfig
from unstir.training.config import Config, TrainingConfig

IMAGES = 2048
"""How many synthetic images there are."""


@dataclass(frozen=True)
class Workload:
    """One network with what is done to it.

    Attributes:
        name: What the table calls it.
        config: A run of a denoiser: the network, the shape of its images, the training batch, the sampling steps.
        sample_batch: How many images are drawn together.
        peers: Whether other packages can build the same network.
    """

    name: str
    config: Config
    sample_batch: int = 16
    peers: bool = True

    @property
    def model(self) -> DenoiserConfig:
        """The denoiser."""
        assert isinstance(self.config.model, DenoiserConfig)
        return self.config.model

    def with_model(self, **values: object) -> Workload:
        """Return the workload with other values of its model, such as its ``precision``."""
        model = self.model.model_copy(update=values)
        return replace(self, config=self.config.model_copy(update={"model": model}))


def ddpm(name: str, base: int, *, size: int = 32, batch: int = 32, sample_batch: int = 16) -> Workload:
    """Return the CIFAR-10 network of Ho et al. 2020, whose base width is 128, at another base width.

    Widths 1, 2, 2, 2 times the base, two residual blocks a level, attention on the second level and in the middle,
    dropout 0.1.
    """
    config = Config(
        recipe="benchmark",
        data=DataConfig(source="synthetic"),
        training=TrainingConfig(images=1, batch=batch),
        model=DenoiserConfig(
            network=UNetConfig(
                channels=(base, 2 * base, 2 * base, 2 * base),
                attention=("none", "full", "none", "none"),
                dropout=0.1,
            ),
            diffusion=DiffusionConfig(schedule=ScheduleConfig(name="linear")),
            sampling=SamplingConfig(steps=5),
        ),
    )
    return Workload(name, config.seeing((3, size, size), {}, "synthetic"), sample_batch)


def mnist_recipe(batch: int | None = None) -> Workload:
    """Return the recipe mnist as it stands, by label, on synthetic images."""
    config = recipe("mnist")(Request(images=1))
    assert isinstance(config, Config)
    training = config.training.model_copy(update={"batch": batch or config.training.batch})
    facts = {"label": {"kind": "classes", "classes": tuple(str(digit) for digit in range(10))}}
    config = config.model_copy(update={"training": training}).seeing((1, 28, 28), facts, "synthetic")
    return Workload("mnist", config, peers=False)


WORKLOADS = {
    "10M": ddpm("10M", 64),
    "36M": ddpm("36M", 128),
    "mnist": mnist_recipe(),
}

QUICK = {
    "tiny": ddpm("tiny", 16, size=16, batch=4, sample_batch=2),
    "mnist": mnist_recipe(batch=8),
}


def synthetic(workload: Workload) -> ImageData:
    """Return noise as images of the shape and classes that a workload names."""
    model = workload.model
    pixels = np.random.default_rng(0).integers(0, 256, size=(IMAGES, *model.samples.shape), dtype=np.uint8)
    labels = np.arange(IMAGES) % len(model.classes) if model.classes else None
    return ImageData.from_array(pixels, labels, model.classes, name="synthetic")
