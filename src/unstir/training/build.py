"""From a configuration to a denoiser."""

from __future__ import annotations

from torch import nn

from unstir.diffusion import Denoiser
from unstir.diffusion.parameterization import parameterization
from unstir.diffusion.schedule import schedules
from unstir.networks.fully_connected import FullyConnectedUNet
from unstir.networks.plain_unet import PlainUNet
from unstir.networks.refinenet import RefineNet
from unstir.networks.unet import UNet
from unstir.training.config import Config, FullyConnectedConfig, PlainUNetConfig, RefineNetConfig


def build_denoiser(config: Config) -> Denoiser:
    """Return the denoiser that ``config`` describes, with fresh weights from its seed.

    Raises:
        InputError: If a part's values do not fit together.
    """
    diffusion = config.diffusion
    schedule = schedules[diffusion.schedule.name](**diffusion.schedule.options())
    meaning = parameterization(diffusion.parameterization, schedule, diffusion.sigma_data)
    return Denoiser(build_network(config), meaning, schedule)


def build_network(config: Config) -> nn.Module:
    """Return the network that ``config`` describes; its images must have been seen."""
    assert config.images is not None
    network, classes = config.network, len(config.classes)
    if isinstance(network, FullyConnectedConfig):
        return FullyConnectedUNet(config.images.shape, network.widths, classes, network.time, network.norm)
    if isinstance(network, PlainUNetConfig):
        return PlainUNet(config.images.shape[0], network.channels, classes, network.embedding)
    if isinstance(network, RefineNetConfig):
        return RefineNet(config.images.shape[0], network.channels, network.blocks, network.patch, classes)
    return UNet(
        config.images.shape[0],
        channels=network.channels,
        blocks=network.blocks,
        attention=network.attention,
        classes=classes,
        patch=network.patch,
        dropout=network.dropout,
        kind=network.norm,
    )
