"""Image to image (Palette): one model told a degraded picture, for several tasks or for one."""

from __future__ import annotations

from unstir.data.config import DataConfig
from unstir.diffusion.config import DiffusionConfig
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import UNetConfig
from unstir.networks.told import DEGRADED, TASK, Told
from unstir.recipes.own_images import at_32
from unstir.recipes.request import Request
from unstir.sampling.config import SamplingConfig
from unstir.training.config import Config

TOLD = {DEGRADED: Told(kind="picture"), TASK: Told(kind="classes")}


def palette(request: Request) -> Config:
    """Colours, holes, edges, JPEG and lost detail restored: five tasks at 32x32, on CIFAR-10 or any images."""
    how = at_32(request, 20 * 60)
    tasks = ("colorization", "inpainting", "uncropping", "jpeg", "super-resolution")
    return Config(
        recipe="palette",
        note=how.note,
        begun=how.begun,
        data=DataConfig(
            source=request.data or "cifar10", size=(32, 32), channels=3, flip=True, degradations=tasks
        ),
        training=how.training,
        model=DenoiserConfig(
            told=TOLD,
            network=how.network,
            diffusion=DiffusionConfig(parameterization="v", objective="v"),
            sampling=SamplingConfig(steps=30),
        ),
    )


def mnist_inpaint(request: Request) -> Config:
    """MNIST's missing parts: strokes, boxes, sides, painted anew."""
    return Config(
        recipe="mnist-inpaint",
        data=DataConfig(source=request.data or "mnist", degradations=("inpainting", "uncropping")),
        training=request.training(seconds=5 * 60, batch=64, optimizer="muon", learning_rate=2e-3),
        model=DenoiserConfig(
            told=TOLD,
            network=UNetConfig(channels=(64, 128), blocks=1, attention=("none", "none"), patch=2, norm="layer"),
            diffusion=DiffusionConfig(parameterization="v", objective="v"),
            sampling=SamplingConfig(steps=30),
        ),
    )
