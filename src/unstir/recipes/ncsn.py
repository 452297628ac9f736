"""Score networks, NCSN (Song and Ermon 2019, 2020): a ladder of sigmas, a RefineNet, annealed Langevin dynamics.

The papers' loss sums lambda(sigma) |s - score|^2 / 2 over the levels, with lambda = sigma^2. Since the score is
-eps / sigma, that is |eps' - eps|^2 / 2 at levels drawn uniformly: the objective ``simple``. An output that is the
score has to reach from 0.01 to 50, the sizes of 1 / sigma; here the output is eps, of one size on every level, and
the score is it over sigma, as the second paper has it, but for the sign.
"""

from __future__ import annotations

from unstir.data.config import DataConfig
from unstir.diffusion.config import DiffusionConfig, ScheduleConfig
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import RefineNetConfig
from unstir.recipes.request import Request
from unstir.sampling.config import LangevinConfig, SamplingConfig
from unstir.training.config import Config


def mnist_ncsn(request: Request) -> Config:
    """MNIST by a score network on 2x2 patches and annealed Langevin dynamics; 20 minutes on two cores."""
    return Config(
        recipe="mnist-ncsn",
        data=DataConfig(source=request.data or "mnist"),
        training=request.training(seconds=20 * 60, batch=64, optimizer="muon", learning_rate=3e-3),
        model=DenoiserConfig(
            network=RefineNetConfig(channels=(64, 96, 96), blocks=1, patch=2),
            # The largest distance between two digits is 32, and 784 pixels ask for a ratio of 1.08.
            diffusion=DiffusionConfig(
                schedule=ScheduleConfig(name="ladder", steps=95, sigma_min=0.02, sigma_max=32)
            ),
            sampling=SamplingConfig(sampler=LangevinConfig(), steps=95),
        ),
    )


def cifar10_ncsn(request: Request) -> Config:
    """CIFAR-10 by the second paper's ladder of 232 levels and 38M images (a GPU's work)."""
    return Config(
        recipe="cifar10-ncsn",
        data=DataConfig(source=request.data or "cifar10", flip=True),
        training=request.training(images=300_000 * 128, batch=128, learning_rate=1e-4, decay=0.0, ema=0.999),
        model=DenoiserConfig(
            network=RefineNetConfig(),
            diffusion=DiffusionConfig(
                schedule=ScheduleConfig(name="ladder", steps=232, sigma_min=0.02, sigma_max=100)
            ),
            sampling=SamplingConfig(sampler=LangevinConfig(), steps=232, clip="none"),
        ),
    )
