"""CIFAR-10, 32x32 photographs in ten classes."""

from __future__ import annotations

from unstir.data.config import DataConfig
from unstir.diffusion.config import DiffusionConfig, ScheduleConfig
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import ADMConfig, UNetConfig
from unstir.recipes.request import LABEL, Request
from unstir.sampling.config import DDPMConfig, SamplingConfig
from unstir.training.config import Config


def cifar10(request: Request) -> Config:
    """CIFAR-10 as in the DDPM paper: 38M parameters (36M there), 102M images (a GPU's work), FID 3.17 there."""
    return Config(
        recipe="cifar10",
        data=DataConfig(source=request.data or "cifar10", flip=True),
        training=request.training(images=800_000 * 128, batch=128, learning_rate=2e-4, warmup=5000, decay=0.0),
        model=DenoiserConfig(
            network=UNetConfig(
                channels=(128, 256, 256, 256), attention=("none", "full", "none", "none"), dropout=0.1
            ),
            diffusion=DiffusionConfig(schedule=ScheduleConfig(name="linear")),
            sampling=SamplingConfig(sampler=DDPMConfig(variance="large"), steps=1000),
        ),
    )


def cifar10_adm(request: Request) -> Config:
    """CIFAR-10 by label, with a small ADM U-Net that two CPU cores train."""
    return Config(
        recipe="cifar10-adm",
        data=DataConfig(source=request.data or "cifar10", flip=True),
        training=request.training(seconds=20 * 60, batch=64, optimizer="muon", learning_rate=2e-3),
        model=DenoiserConfig(
            told=LABEL,
            network=ADMConfig(multipliers=(0.5, 1.5, 3), blocks=1, attention=(False, True, True)),
            diffusion=DiffusionConfig(parameterization="v", objective="v"),
            sampling=SamplingConfig(),
        ),
    )
