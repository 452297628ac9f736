"""The digits bundled with scikit-learn: 8x8, 1,797 of them, no download."""

from __future__ import annotations

from unstir.data.config import DataConfig
from unstir.diffusion.config import DiffusionConfig
from unstir.models.systems import ClassifierConfig, DenoiserConfig
from unstir.networks.config import UNetConfig
from unstir.networks.told import Told
from unstir.recipes.request import LABEL, Request
from unstir.sampling.config import SamplingConfig
from unstir.training.config import Config
from unstir.training.plan import Plan, stage


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


def digits_variations(request: Request) -> Plan:
    """A plan: an encoder of the bundled digits, then digits drawn from what it sees in one."""
    data = DataConfig(source=request.data or "digits")
    drawn = digits(request.share(0.8))
    seen = Told(kind="embedding", of="encoder", dropout=0.2)
    model = drawn.model.model_copy(update={"told": {"seen": seen}, "parts": {"encoder": stage("encoder")}})
    return Plan(
        recipe="digits-variations",
        stages={
            "encoder": Config(
                recipe="digits-variations",
                data=data,
                training=request.share(0.2).training(
                    seconds=20, batch=64, learning_rate=4e-3, weight_decay=0.05, decay=0.8
                ),
                model=ClassifierConfig(),
            ),
            "drawing": drawn.model_copy(update={"recipe": "digits-variations", "model": model}),
        },
    )
