"""The digits bundled with scikit-learn: 8x8, 1,797 of them, no download."""

from __future__ import annotations

from unstir.data.config import DataConfig
from unstir.diffusion.config import DiffusionConfig
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import UNetConfig
from unstir.recipes.request import LABEL, Request
from unstir.sampling.config import SamplingConfig
from unstir.training.config import Config


def digits(request: Request) -> Config:
    """The bundled 8x8 digits, by label: legible in two minutes on two cores."""
    return Config(
        recipe="digits",
        data=DataConfig(source=request.data or "digits"),
        training=request.training(seconds=100, batch=256, learning_rate=1e-3),
        model=DenoiserConfig(
            told=LABEL,
            network=UNetConfig(channels=(64, 128), blocks=1, attention=("none", "none"), norm="layer"),
            diffusion=DiffusionConfig(parameterization="v", objective="v"),
            sampling=SamplingConfig(guidance=0.5),
        ),
    )
