"""Diffusion autoencoders: a plan that learns what images mean, which classes lie where in that, and to draw it."""

from __future__ import annotations

from typing import Any

from unstir.data.config import DataConfig
from unstir.data.peek import has_labels
from unstir.data.sources import find
from unstir.diffusion.config import DiffusionConfig
from unstir.errors import InputError
from unstir.models.config import CODEC, ModelConfig
from unstir.models.diffae_config import DIRECTIONS, DiffusionAutoencoderConfig, LinearReaderConfig
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import ReaderConfig, UNetConfig
from unstir.networks.skip_mlp_config import SkipMLPConfig
from unstir.recipes.request import Request
from unstir.sampling.config import SamplingConfig
from unstir.training.config import Config, TrainingConfig
from unstir.training.plan import Plan, stage

SHARES = (0.8, 0.2)
"""The parts of a budget that the autoencoder has, and the latents. What reads the classes is done in seconds."""

BY_V = DiffusionConfig(parameterization="v", objective="v")


def mnist_diffae(request: Request) -> Plan:
    """A plan: what MNIST's digits mean in 64 numbers, where classes lie in them, and new ones drawn."""
    autoencoder = DiffusionAutoencoderConfig(
        network=UNetConfig(channels=(64, 128), blocks=1, attention=("none", "none"), patch=2, norm="layer"),
        encoder=ReaderConfig(features=64),
        diffusion=BY_V,
    )
    data = DataConfig(source=request.data or "mnist")
    how = {"batch": 32, "optimizer": "muon", "learning_rate": 2e-3}
    return _plan("mnist-diffae", request, data, autoencoder, {"seconds": 25 * 60}, how)


def emoji_diffae(request: Request) -> Plan:
    """A plan: what your pictures, such as emoji, mean in 128 numbers, and new ones drawn, at 64x64."""
    if request.data is None:
        raise InputError("The recipe 'emoji-diffae' needs --data FOLDER, a folder of your pictures")
    autoencoder = DiffusionAutoencoderConfig(
        network=UNetConfig(channels=(128, 192), blocks=1, attention=("none", "full"), patch=4, norm="layer"),
        encoder=ReaderConfig(channels=(32, 96, 192, 192), features=128),
        diffusion=BY_V,
    )
    data = DataConfig(source=request.data, size=(64, 64), channels=3)
    how = {"batch": 32, "optimizer": "muon", "learning_rate": 1e-3}
    return _plan("emoji-diffae", request, data, autoencoder, {"seconds": 40 * 60}, how)


def cifar10_diffae(request: Request) -> Plan:
    """A plan: what CIFAR-10's photographs mean in 256 numbers, where classes lie in them, and new ones drawn."""
    autoencoder = DiffusionAutoencoderConfig(
        network=UNetConfig(channels=(128, 192), blocks=1, attention=("none", "full"), patch=2, norm="layer"),
        encoder=ReaderConfig(channels=(64, 128, 256), features=256),
        diffusion=BY_V,
    )
    data = DataConfig(source=request.data or "cifar10", flip=True)
    how = {"batch": 32, "optimizer": "muon", "learning_rate": 1e-3}
    return _plan("cifar10-diffae", request, data, autoencoder, {"seconds": 40 * 60}, how)


def faces128_diffae(request: Request) -> Plan:
    """A plan: what FFHQ's faces mean in 512 numbers, and new ones drawn, at 128x128: a GPU's work."""
    autoencoder = DiffusionAutoencoderConfig(
        network=UNetConfig(channels=(128, 256, 384, 512), patch=2),
        encoder=ReaderConfig(channels=(64, 128, 256, 256, 512), blocks=2, features=512),
        diffusion=BY_V,
    )
    data = DataConfig(source=request.data or "faces", size=(128, 128), channels=3, flip=True)
    how = {"batch": 64, "learning_rate": 2e-4, "warmup": 1000}
    return _plan("faces128-diffae", request, data, autoencoder, {"images": 20_000_000}, how)


def _plan(
    name: str,
    request: Request,
    data: DataConfig,
    autoencoder: DiffusionAutoencoderConfig,
    budget: dict[str, int],
    how: dict[str, Any],
) -> Plan:
    """Return the plan of an autoencoder, of its classes' directions where images have any, and of its latents.

    Args:
        name: The recipe's.
        request: What the user asked for.
        data: The images.
        autoencoder: The first stage.
        budget: The recipe's own: of all stages, in seconds or in images.
        how: How the first stage is trained.
    """

    def stage_of(model: ModelConfig, training: TrainingConfig) -> Config:
        return Config(recipe=name, data=data, training=training, model=model)

    def share(part: float, **training: Any) -> TrainingConfig:
        own = {unit: round(part * amount) for unit, amount in budget.items()}
        return request.share(part).training(**own, **training)

    stages = {"autoencoder": stage_of(autoencoder, share(SHARES[0], **how))}
    parts = {CODEC: stage("autoencoder")}
    if has_labels(find(data.source)):
        reading = TrainingConfig(images=1_000_000, batch=256, learning_rate=0.1, decay=0.8)
        stages["directions"] = stage_of(LinearReaderConfig(parts=parts), reading)
        parts = {**parts, DIRECTIONS: stage("directions")}
    latents = DenoiserConfig(
        network=SkipMLPConfig(width=max(512, 4 * autoencoder.latent)),
        diffusion=BY_V,
        sampling=SamplingConfig(clip="none"),
        parts=parts,
    )
    stages["latents"] = stage_of(latents, share(SHARES[1], batch=256, learning_rate=1e-3))
    return Plan(recipe=name, stages=stages)
