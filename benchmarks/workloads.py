"""What is measured: networks, batches and steps, written once as unstir configurations.

Every contender builds its own network from the same values: widths, blocks, attention, dropout, image, batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData
from unstir.recipes import recipe
from unstir.recipes.request import Request
from unstir.training.config import (
    Config,
    DiffusionConfig,
    ImagesInfo,
    SamplingConfig,
    ScheduleConfig,
    TrainingConfig,
    UNetConfig,
)

IMAGES = 2048
"""How many synthetic images there are."""


@dataclass(frozen=True)
class Workload:
    """One network with what is done to it.

    Attributes:
        name: What the table calls it.
        config: The network, the shape of its images, the training batch and the sampling steps.
        sample_batch: How many images are drawn together.
        peers: Whether other packages can build the same network.
    """

    name: str
    config: Config
    sample_batch: int = 16
    peers: bool = True

    def with_precision(self, precision: str) -> Workload:
        """Return the workload in another precision: ``auto`` or ``float32``."""
        training = self.config.training.model_copy(update={"precision": precision})
        return replace(self, config=self.config.model_copy(update={"training": training}))


def ddpm(name: str, base: int, *, size: int = 32, batch: int = 32, sample_batch: int = 16) -> Workload:
    """Return the CIFAR-10 network of Ho et al. 2020, whose base width is 128, at another base width.

    Widths 1, 2, 2, 2 times the base, two residual blocks a level, attention on the second level and in the middle,
    dropout 0.1.
    """
    config = Config(
        recipe="benchmark",
        data=DataConfig(source="synthetic"),
        conditional=False,
        network=UNetConfig(
            channels=(base, 2 * base, 2 * base, 2 * base),
            attention=("none", "full", "none", "none"),
            dropout=0.1,
        ),
        diffusion=DiffusionConfig(schedule=ScheduleConfig(name="linear")),
        training=TrainingConfig(images=1, batch=batch),
        sampling=SamplingConfig(sampler="ddim", steps=5),
        images=ImagesInfo(shape=(3, size, size), fingerprint="synthetic"),
    )
    return Workload(name, config, sample_batch)


def mnist_recipe(batch: int | None = None) -> Workload:
    """Return the recipe mnist as it stands, by label, on synthetic images."""
    config = recipe("mnist")(Request(images=1))
    classes = tuple(str(digit) for digit in range(10))
    training = config.training.model_copy(update={"batch": batch or config.training.batch})
    info = ImagesInfo(shape=(1, 28, 28), classes=classes, fingerprint="synthetic")
    return Workload("mnist", config.model_copy(update={"images": info, "training": training}), peers=False)


WORKLOADS = {
    "10M": ddpm("10M", 64),
    "36M": ddpm("36M", 128),
    "mnist": mnist_recipe(),
}

QUICK = {
    "tiny": ddpm("tiny", 16, size=16, batch=4, sample_batch=2),
    "mnist": mnist_recipe(batch=8),
}


def synthetic(config: Config) -> ImageData:
    """Return noise as images of the shape and classes that ``config`` names."""
    assert config.images is not None
    pixels = np.random.default_rng(0).integers(0, 256, size=(IMAGES, *config.images.shape), dtype=np.uint8)
    classes = config.classes
    labels = np.arange(IMAGES) % len(classes) if classes else None
    return ImageData.from_array(pixels, labels, classes, name="synthetic")
