"""Latent diffusion (Rombach et al. 2022): a codec first, then what draws its codes.

Codes of 4x16x16 stand for pictures of 64 or 128 pixels a side, so that what draws them works on 256 places and
leaves what is fine to the codec.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from unstir.diffusion.config import DiffusionConfig
from unstir.models.config import CODEC
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import UNetConfig
from unstir.networks.told import Told
from unstir.recipes.captions import CAPTION
from unstir.recipes.codecs import emoji_codec, images_codec
from unstir.recipes.request import LABEL, Request
from unstir.sampling.config import DPM2MConfig, SamplingConfig
from unstir.training.config import Config
from unstir.training.plan import Plan, stage

HALF_AN_HOUR = 30 * 60.0

FIRST = 0.4
"""The part of the budget that the codec has."""


def emoji_latent(request: Request) -> Plan:
    """A plan: a codec of small pictures such as emoji, 64x64, then its codes drawn, by class if there are any."""
    return _plan("emoji-latent", request, emoji_codec(_first(request)), LABEL, 1.0)


def emoji_latent_text(request: Request) -> Plan:
    """A plan: a codec of captioned pictures at 64x64, then its codes drawn from a text that is attended to."""
    return _plan("emoji-latent-text", request, emoji_codec(_first(request)), CAPTION, 2.0)


def images_latent(request: Request) -> Plan:
    """A plan: a codec of any folder of your own images, at 32 to 128 pixels, then its codes drawn."""
    return _plan("images-latent", request, images_codec(_first(request)), LABEL, 1.0)


def _first(request: Request) -> Request:
    """Return the request of the codec's stage."""
    whole = request if request.budget else replace(request, seconds=HALF_AN_HOUR)
    return whole.share(FIRST)


def _plan(name: str, request: Request, codec: Config, told: Mapping[str, Told], guidance: float) -> Plan:
    """Return the plan of a codec and what draws its codes.

    Args:
        name: The recipe's.
        request: What the user asked for.
        codec: The first stage.
        told: What the second is told.
        guidance: How strongly it is held to that.
    """
    seconds = (1 - FIRST) * HALF_AN_HOUR
    drawing = Config(
        recipe=name,
        data=codec.data,
        training=request.share(1 - FIRST).training(
            seconds=seconds, batch=32, optimizer="muon", learning_rate=1e-3
        ),
        model=DenoiserConfig(
            told=dict(told),
            parts={CODEC: stage(CODEC)},
            network=UNetConfig(channels=(128, 192), blocks=1, attention=("none", "full"), norm="layer"),
            diffusion=DiffusionConfig(parameterization="v", objective="v"),
            sampling=SamplingConfig(sampler=DPM2MConfig(), steps=20, spacing="log_snr", guidance=guidance),
        ),
    )
    return Plan(recipe=name, stages={CODEC: codec.model_copy(update={"recipe": name}), "drawing": drawing})
