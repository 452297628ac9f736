"""Classifiers of noised images, which guide what models of the same data and schedule draw."""

from __future__ import annotations

from unstir.data.config import DataConfig
from unstir.diffusion.config import ScheduleConfig
from unstir.models.systems import NoisyClassifierConfig
from unstir.networks.config import ADMReaderConfig
from unstir.recipes.request import Request
from unstir.training.config import Config


def mnist_classifier(request: Request) -> Config:
    """A classifier of noised MNIST, to guide the recipe mnist: half an ADM U-Net, small."""
    return Config(
        recipe="mnist-classifier",
        data=DataConfig(source=request.data or "mnist"),
        training=request.training(
            seconds=4 * 60, batch=128, optimizer="muon", learning_rate=2e-3, weight_decay=0.05
        ),
        model=NoisyClassifierConfig(
            network=ADMReaderConfig(
                channels=16, multipliers=(1, 3, 6), blocks=1, attention=(False, False, True), features=128
            )
        ),
    )


def cifar10_classifier(request: Request) -> Config:
    """A classifier of noised CIFAR-10, to guide the recipe cifar10: half an ADM U-Net, small."""
    config = mnist_classifier(request)
    training = request.training(
        seconds=15 * 60, batch=128, optimizer="muon", learning_rate=2e-3, weight_decay=0.05
    )
    network = ADMReaderConfig(
        channels=48, multipliers=(1, 2, 4), blocks=1, attention=(False, True, True), features=256, dropout=0.1
    )
    return config.model_copy(
        update={
            "recipe": "cifar10-classifier",
            "data": DataConfig(source=request.data or "cifar10", flip=True),
            "training": training,
            "model": NoisyClassifierConfig(network=network, schedule=ScheduleConfig(name="linear")),
        }
    )
