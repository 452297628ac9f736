from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unstir.data.dataset import Splits
from unstir.diffusion.exact import IdealDenoiser
from unstir.training.build import build_denoiser
from unstir.training.config import ImagesInfo
from unstir.training.run import Run
from unstir.training.settings import checked


class Exact(torch.nn.Module):
    """The ideal denoiser of some images, as a network that tells v of the cosine schedule."""

    def __init__(self, images: Tensor, run: Run) -> None:
        super().__init__()
        self.ideal, self.schedule = IdealDenoiser(images), run.denoiser.schedule
        self.anchor = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor, condition: object) -> Tensor:
        # The level is that of the float32 time the network is told.
        return self.ideal(x, self.schedule(t[0].double())).v


@pytest.fixture
def run(digits: Splits) -> Callable[..., Run]:
    """Make a run on the digits whose network is the ideal denoiser of given images."""

    def make(images: Tensor, **sampling: object) -> Run:
        config = checked(
            {
                "recipe": "test",
                "data": {"source": "digits"},
                "network": {"kind": "unet", "channels": [8], "attention": ["none"]},
                "diffusion": {"parameterization": "v"},
                "training": {"images": 1, "precision": "float32"},
                "sampling": {"steps": 12, **sampling},
                "images": ImagesInfo(shape=digits.train.shape, classes=digits.train.classes, fingerprint="x"),
            }
        )
        made = Run(config, build_denoiser(config).eval())
        made.denoiser.network = Exact(images, made)
        return made

    return make
