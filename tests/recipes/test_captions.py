"""The recipes that draw from a text: what they are told, and that they refuse images without captions."""

from __future__ import annotations

import pytest

from unstir.errors import InputError
from unstir.models.systems import DenoiserConfig
from unstir.recipes import RECIPES
from unstir.recipes.request import Request, smoke
from unstir.training.config import Config

TEXT = {"shapes-text": "shapes", "emoji-text": "elsewhere"}


@pytest.mark.parametrize("name", TEXT)
def test_a_caption_is_told_in_two_ways_and_hidden_as_one(name: str) -> None:
    config = RECIPES[name](Request(data=TEXT[name], gflops=1.0))
    assert isinstance(config, Config) and isinstance(config.model, DenoiserConfig)
    assert (config.recipe, config.data.source, config.data.channels) == (name, TEXT[name], 3)
    assert config.model.reads == ("caption",)
    assert {one.enters: one.dropout for one in config.model.told.values()} == {"tokens": 0.1, "vector": 0.1}
    assert config.model.network.attention[-1] == "full"  # type: ignore[attr-defined]
    for own_data in (True, False):  # the digits, which otherwise stand in, have no captions
        assert smoke(config, own_data).data.source == TEXT[name]
    assert RECIPES[name](Request(data="elsewhere", gflops=1.0)).data.source == "elsewhere"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", TEXT)
def test_images_without_captions_are_refused(name: str) -> None:
    config = RECIPES[name](Request(data=TEXT[name], gflops=1.0))
    assert isinstance(config, Config)
    with pytest.raises(InputError, match="is to be told caption, and the data has no caption: give images with"):
        config.seeing((3, 32, 32), {"label": {"kind": "classes", "classes": ("a", "b")}}, "x")
    with pytest.raises(InputError, match="told caption as text, and the data's caption is classes: set told="):
        config.seeing((3, 32, 32), {"caption": {"kind": "classes", "classes": ("a", "b")}}, "x")
