from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unstir.config import checked
from unstir.data.dataset import Splits
from unstir.diffusion import Sockets
from unstir.diffusion.exact import IdealDenoiser
from unstir.models.denoiser import DenoiserModel
from unstir.models.systems import DenoiserConfig


class Exact(torch.nn.Module):
    """The ideal denoiser of some images, as a network that tells v of the cosine schedule."""

    def __init__(self, images: Tensor, model: DenoiserModel) -> None:
        super().__init__()
        self.ideal, self.schedule = IdealDenoiser(images), model.schedule
        self.anchor = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
        # The level is that of the float32 time the network is told.
        return self.ideal(x, self.schedule(t[0].double())).v


@pytest.fixture
def run(digits: Splits) -> Callable[..., DenoiserModel]:
    """Make a model of the digits, told their label, whose network is the ideal denoiser of given images."""

    def make(images: Tensor, **sampling: object) -> DenoiserModel:
        values = {
            "told": {"label": {"kind": "classes"}},
            "network": {"kind": "unet", "channels": [8], "attention": ["none"]},
            "diffusion": {"parameterization": "v"},
            "precision": "float32",
            "sampling": {"steps": 12, **sampling},
        }
        config = checked(DenoiserConfig, values).seeing(digits.train.shape, digits.train.facts())
        made = DenoiserModel(config, {}).eval()
        made.denoiser.network = Exact(images, made)
        return made

    return make
