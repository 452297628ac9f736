"""Handwritten digits and clothes, 28x28: the U-Net recipe, and the fully connected one with its ablation."""

from __future__ import annotations

from pathlib import Path

from unstir.data.config import DataConfig
from unstir.data.sources import find
from unstir.diffusion.config import DiffusionConfig, ScheduleConfig
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import FullyConnectedConfig, UNetConfig
from unstir.recipes.own_images import images
from unstir.recipes.request import LABEL, Request
from unstir.sampling.config import DDPMConfig, SamplingConfig
from unstir.training.config import Config

SHORT = 160_000.0
"""A budget of less arithmetic, in GFLOP, gets a small network in small batches: more images, more steps.

Three minutes on two cores with bfloat16 matrix units, five on two without.
"""


def mnist(request: Request) -> Config:
    """MNIST by label: a U-Net on 2x2 patches, chosen by the budget; legible in a minute on two cores."""
    sized = request.sized(SHORT)
    channels, batch = ((64, 128), 64) if sized.small else ((128, 192), 128)
    return Config(
        recipe="mnist",
        note=sized.note,
        begun=sized.begun,
        data=DataConfig(source=request.data or "mnist"),
        training=request.training(seconds=5 * 60, batch=batch, optimizer="muon", learning_rate=2e-3),
        model=DenoiserConfig(
            told=LABEL,
            network=UNetConfig(channels=channels, blocks=1, attention=("none", "none"), patch=2, norm="layer"),
            diffusion=DiffusionConfig(parameterization="v", objective="v"),
            sampling=SamplingConfig(steps=30, guidance=0.5),
        ),
    )


def mnist_label_input(request: Request) -> Config:
    """The recipe mnist with the label as a map beside the input, not in each layer, to compare them."""
    config = mnist(request)
    label = LABEL["label"].model_copy(update={"socket": "image"})
    model = config.model.model_copy(update={"told": {"label": label}})
    return config.model_copy(update={"recipe": "mnist-label-input", "model": model})


def mnist_hybrid(request: Request) -> Config:
    """MNIST without labels, by the hybrid objective with a learned variance: for bits/dim and few steps."""
    return Config(
        recipe="mnist-hybrid",
        data=DataConfig(source=request.data or "mnist"),
        training=request.training(seconds=15 * 60, batch=64, optimizer="muon", learning_rate=2e-3),
        model=DenoiserConfig(
            network=UNetConfig(channels=(64, 128), blocks=1, attention=("none", "none"), patch=2, norm="layer"),
            diffusion=DiffusionConfig(objective="hybrid", variance="learned"),
            sampling=SamplingConfig(sampler=DDPMConfig(variance="learned"), steps=50),
        ),
    )


def fashion_mnist(request: Request) -> Config:
    """Fashion-MNIST by label, with the network of the recipe mnist."""
    config = mnist(request)
    data = DataConfig(source=request.data or "fashion-mnist")
    return config.model_copy(update={"recipe": "fashion-mnist", "data": data})


def mnist_fc(request: Request) -> Config:
    """MNIST on flattened pixels: a fully connected U-Net told the time by one extra input element."""
    return Config(
        recipe="mnist-fc",
        data=DataConfig(source=request.data or "mnist"),
        training=request.training(seconds=5 * 60, batch=512, learning_rate=1e-3),
        model=DenoiserConfig(
            told=LABEL,
            network=FullyConnectedConfig(),
            diffusion=DiffusionConfig(schedule=ScheduleConfig(name="linear"), parameterization="v", objective="v"),
            sampling=SamplingConfig(sampler=DDPMConfig(), steps=1000),
        ),
    )


def mnist_fc_notime(request: Request) -> Config:
    """The same network without the time element, to see what it is worth."""
    config = mnist_fc(request)
    model = config.model.model_copy(update={"network": FullyConnectedConfig(time=False)})
    return config.model_copy(update={"recipe": "mnist-fc-notime", "model": model})


def mnist_dae(request: Request) -> Config:
    """MNIST cleaned: a denoising autoencoder, trained at one level of corruption; takes any folder too."""
    folder = request.data is not None and Path(request.data).expanduser().is_dir()
    pictures = folder and find(request.data).kind == "images"
    config = images(request) if pictures else mnist(request)
    level = ScheduleConfig(name="single", amount=0.5)
    diffusion = DiffusionConfig(schedule=level, parameterization="x0", objective="x0")
    model = config.model.model_copy(update={"told": {}, "diffusion": diffusion, "sampling": SamplingConfig()})
    data = config.data.model_copy(update={"augment": 0.0})  # it is told nothing
    return config.model_copy(update={"recipe": "mnist-dae", "data": data, "model": model})
