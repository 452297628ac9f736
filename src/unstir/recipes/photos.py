"""Photographs from 64 to 128 pixels: churches, cars, STL-10, faces."""

from __future__ import annotations

from unstir.data.config import DataConfig
from unstir.diffusion.config import DiffusionConfig, ScheduleConfig
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import PlainUNetConfig, UNetConfig
from unstir.recipes.request import Request
from unstir.sampling.config import DDPMConfig, SamplingConfig
from unstir.training.config import Config


def _attention_unet(
    name: str, source: str, size: int, images: int, request: Request, network: UNetConfig
) -> Config:
    return Config(
        recipe=name,
        data=DataConfig(source=request.data or source, size=(size, size), channels=3, flip=True),
        training=request.training(images=images, batch=64, learning_rate=2e-4, warmup=1000),
        model=DenoiserConfig(
            network=network,
            diffusion=DiffusionConfig(parameterization="v", objective="min_snr"),
            sampling=SamplingConfig(steps=100),
        ),
    )


def church64(request: Request) -> Config:
    """LSUN churches at 64x64: the attention U-Net of four levels."""
    return _attention_unet("church64", "church", 64, 10_000_000, request, UNetConfig())


def stl10_96(request: Request) -> Config:
    """STL-10 at 96x96: the attention U-Net on 2x2 patches."""
    network = UNetConfig(channels=(128, 256, 384, 512), patch=2, dropout=0.1)
    return _attention_unet("stl10-96", "stl10", 96, 10_000_000, request, network)


def faces128(request: Request) -> Config:
    """FFHQ faces at 128x128: the attention U-Net on 2x2 patches."""
    network = UNetConfig(channels=(128, 256, 384, 512), patch=2)
    return _attention_unet("faces128", "faces", 128, 20_000_000, request, network)


def cars64(request: Request) -> Config:
    """Stanford cars at 64x64 as the tutorials do: the plain U-Net, 300 levels, Adam at 1e-3."""
    return Config(
        recipe="cars64",
        data=DataConfig(source=request.data or "cars", size=(64, 64), channels=3, flip=True),
        training=request.training(images=4_000_000, batch=128, learning_rate=1e-3),
        model=DenoiserConfig(
            network=PlainUNetConfig(),
            diffusion=DiffusionConfig(schedule=ScheduleConfig(name="linear", steps=300)),
            sampling=SamplingConfig(sampler=DDPMConfig(), steps=300),
        ),
    )
