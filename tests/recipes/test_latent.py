from __future__ import annotations

import pytest

from unstir.models.systems import DenoiserConfig
from unstir.recipes import RECIPES
from unstir.recipes.request import Request
from unstir.training.plan import Plan


@pytest.mark.parametrize("name", ["emoji-latent", "emoji-latent-text", "images-latent"])
def test_the_codec_has_two_fifths_of_the_budget(name: str) -> None:
    for asked, budgets in (
        ({"seconds": 1000.0}, [400.0, 600.0]),
        ({"images": 1000}, [400, 600]),
        ({}, [720.0, 1080.0]),
    ):
        plan = RECIPES[name](Request(data="digits", gflops=100.0, **asked))  # type: ignore[arg-type]
        assert isinstance(plan, Plan) and [*plan.stages] == ["codec", "drawing"]
        codec, drawing = plan.stages.values()
        assert [stage.training.images or stage.training.seconds for stage in (codec, drawing)] == budgets
        assert drawing.model.parts["codec"].path == "../codec" and drawing.data == codec.data
        assert isinstance(drawing.model, DenoiserConfig)
        assert drawing.model.network.patch == 1  # type: ignore[attr-defined]
