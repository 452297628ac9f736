"""Images drawn from a text: a U-Net that attends to the tokens of a frozen text encoder.

The caption enters twice: its tokens are attended to, and as one vector it is added to the embedding of the time,
since what the whole picture is like no single token says. Both are hidden together from a tenth of the images.
"""

from __future__ import annotations

from unstir.data.config import DataConfig
from unstir.diffusion.config import DiffusionConfig
from unstir.errors import InputError
from unstir.models.systems import DenoiserConfig
from unstir.networks.told import Told
from unstir.recipes.own_images import at_32
from unstir.recipes.request import Request
from unstir.sampling.config import SamplingConfig
from unstir.training.config import Config

CAPTION = {
    "caption": Told(kind="text", encoder="minilm", dropout=0.1),
    "gist": Told(kind="text", encoder="minilm", column="caption", socket="vector", dropout=0.1),
}


def shapes_text(request: Request) -> Config:
    """Scenes of coloured shapes, drawn from a sentence: 32x32, a frozen MiniLM reads it."""
    return _drawn_from_text("shapes-text", request, "shapes")


def emoji_text(request: Request) -> Config:
    """Captioned pictures, such as emoji, drawn from a text: 32x32; --data names your own, with captions."""
    if request.data is None:
        raise InputError("The recipe 'emoji-text' needs --data FOLDER, a folder of your pictures with captions")
    return _drawn_from_text("emoji-text", request, request.data)


def _drawn_from_text(name: str, request: Request, source: str) -> Config:
    how = at_32(request, 20 * 60)
    # At 0.002, right without tokens, a run on scenes came to be no number after 520 steps.
    training = how.training.model_copy(update={"learning_rate": 1e-3})
    return Config(
        recipe=name,
        note=how.note,
        begun=how.begun,
        data=DataConfig(source=request.data or source, size=(32, 32), channels=3),
        training=training,
        model=DenoiserConfig(
            told=CAPTION,
            network=how.network,
            diffusion=DiffusionConfig(parameterization="v", objective="v"),
            sampling=SamplingConfig(guidance=2.0),
        ),
    )
