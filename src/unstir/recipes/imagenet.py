"""ImageNet by class, as ADM is trained (Dhariwal and Nichol 2021, table 11): work for many GPUs."""

from __future__ import annotations

from typing import Literal

from unstir.data.config import DataConfig
from unstir.diffusion.config import DiffusionConfig, ScheduleConfig
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import adm_preset
from unstir.networks.told import Told
from unstir.recipes.request import Request
from unstir.sampling.config import DDPMConfig, SamplingConfig
from unstir.training.config import Config


def _adm(
    size: Literal[64, 128, 256],
    request: Request,
    steps: int,
    batch: int = 256,
    learning_rate: float = 1e-4,
    schedule: Literal["linear", "cosine"] = "linear",
) -> Config:
    return Config(
        recipe=f"imagenet{size}-adm",
        data=DataConfig(source=request.data or "imagenet", size=(size, size), channels=3, flip=True),
        training=request.training(
            images=steps * batch, batch=batch, learning_rate=learning_rate, warmup=0, decay=0.0
        ),
        model=DenoiserConfig(
            told={"label": Told(kind="classes")},
            network=adm_preset(size),
            diffusion=DiffusionConfig(
                schedule=ScheduleConfig(name=schedule), objective="hybrid", variance="learned"
            ),
            sampling=SamplingConfig(sampler=DDPMConfig(variance="learned"), steps=250),
        ),
    )


def imagenet64_adm(request: Request) -> Config:
    """ImageNet at 64x64 as in the ADM paper: 296M parameters, 1.1G images (many GPUs' work), FID 2.07 there."""
    return _adm(64, request, 540_000, batch=2048, learning_rate=3e-4, schedule="cosine")


def imagenet128_adm(request: Request) -> Config:
    """ImageNet at 128x128 as in the ADM paper: 422M parameters, 1.1G images (many GPUs' work), FID 5.91 there."""
    return _adm(128, request, 4_360_000)


def imagenet256_adm(request: Request) -> Config:
    """ImageNet at 256x256 as in the ADM paper: 554M parameters, 507M images (many GPUs' work), FID 10.94 there."""
    return _adm(256, request, 1_980_000)
