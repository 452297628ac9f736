"""From a configuration to a denoiser."""

from __future__ import annotations

from torch import nn

from unstir.diffusion import Denoiser, DiscreteSchedule
from unstir.diffusion.parameterization import parameterization
from unstir.diffusion.schedule import LearnedSchedule, schedules
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
    if diffusion.schedule.learned:
        assert isinstance(schedule, DiscreteSchedule)
        schedule = LearnedSchedule(schedule)
    meaning = parameterization(diffusion.parameterization, schedule, diffusion.sigma_data)
    return Denoiser(build_network(config), meaning, schedule, diffusion.variance == "learned")


def build_network(config: Config) -> nn.Module:
    """Return the network that ``config`` describes; its images must have been seen."""
    assert config.images is not None
    network, classes, outputs = config.network, len(config.classes), config.diffusion.outputs
    if isinstance(network, FullyConnectedConfig):
        return FullyConnectedUNet(
            config.images.shape, network.widths, classes, network.time, network.norm, outputs
        )
    if isinstance(network, PlainUNetConfig):
        return PlainUNet(config.images.shape[0], network.channels, classes, network.embedding, outputs)
    if isinstance(network, RefineNetConfig):
        shape = config.images.shape
        return RefineNet(shape[0], network.channels, network.blocks, network.patch, classes, outputs)
    return UNet(
        config.images.shape[0],
        channels=network.channels,
        blocks=network.blocks,
        attention=network.attention,
        classes=classes,
        patch=network.patch,
        dropout=network.dropout,
        kind=network.norm,
        outputs=outputs,
    )
