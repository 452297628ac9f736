"""Drawing from a text: the same text draws the same image whatever stands beside it, and another another."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from unstir.errors import InputError
from unstir.models.denoiser import DenoiserModel
from unstir.models.model import Model
from unstir.models.samples import Samples
from unstir.models.systems import DenoiserConfig
from unstir.models.text import textbook
from unstir.networks.told import Told

TEXTS = ["a red circle", "the big blue star on a small green square", "star"]


@pytest.fixture(scope="module")
def model(make_encoder: Callable[..., Path], make_model: Callable[..., DenoiserModel]) -> Model:
    """An untrained U-Net that is told a caption's tokens and its whole."""
    folder = str(make_encoder())
    facts = textbook(folder)
    one = {"kind": "text", "encoder": folder, "dropout": 0.1, "hash": facts.hash, "width": 16}
    told = {
        "caption": Told.model_validate({**one, "length": 16}),
        "gist": Told.model_validate({**one, "column": "caption", "socket": "vector"}),
    }
    return make_model("unet", shape=(1, 8, 8), classes=0, sampling={"steps": 2, "guidance": 1.0}, told=told)


def test_a_prompt_draws_the_same_image_whatever_stands_beside_it(model: Model) -> None:
    whole = model.sample(7, prompt=TEXTS)  # type: ignore[operator]
    assert whole.prompts == [TEXTS[i % 3] for i in range(7)]
    for i in range(7):
        alone = next(model.draw([i], prompt=TEXTS[i % 3], batch=1))  # type: ignore[operator]
        torch.testing.assert_close(alone.tensor[0], whole.tensor[i], rtol=0, atol=1e-4)
        assert alone.prompts == [TEXTS[i % 3]]
    parts = [*model.draw([1, 3, 5], prompt=TEXTS, batch=2), *model.draw([0, 2, 4, 6], prompt=TEXTS, batch=3)]  # type: ignore[operator]
    joined = Samples.joined(parts)
    torch.testing.assert_close(joined.tensor, whole.tensor, rtol=0, atol=1e-4)
    assert joined.prompts == whole.prompts


def test_each_way_in_which_a_text_is_told_changes_the_image(model: Model) -> None:
    from unstir.models.text import spoken

    drawn = [model.sample(1, prompt=text).tensor for text in TEXTS]  # type: ignore[operator]
    assert all((one - other).abs().max() > 1e-3 for one, other in pairwise(drawn))
    told = spoken(model.config.texts, {name: TEXTS[:1] for name in ("caption", "gist")})
    other = spoken(model.config.texts, {name: TEXTS[1:2] for name in ("caption", "gist")})
    torch.testing.assert_close(model.sample(1, told=told).tensor, drawn[0], rtol=0, atol=0)  # type: ignore[operator]
    for name in told:
        changed = model.sample(1, told={**told, name: other[name]}).tensor  # type: ignore[operator]
        assert (changed - drawn[0]).abs().max() > 1e-4


def test_no_text_is_a_hidden_one(model: Model) -> None:
    nothing = {"caption": torch.zeros(2, 16, 16), "gist": torch.zeros(2, 16)}
    told = model.sample(2, told=nothing).tensor  # type: ignore[operator]
    torch.testing.assert_close(told, model.sample(2).tensor, rtol=0, atol=1e-4)  # type: ignore[operator]


def test_captions_of_the_data_are_hidden_together(model: Model) -> None:
    given = {"caption": [*TEXTS, ""] * 50}
    generator = torch.Generator().manual_seed(0)
    condition = model.part_hidden((torch.zeros(200, 1, 8, 8), given), generator)["condition"]
    (tokens, hidden), (whole, too) = (condition.parts[name] for name in ("caption", "gist"))
    assert tokens.shape == (200, 16, 16) and whole.shape == (200, 16)
    assert torch.equal(hidden, too) and 5 < hidden.sum() < 40
    assert not tokens[3].any() and not whole[3].any() and tokens[0].any() and whole[0].any()


def test_wrong_prompts_are_refused_in_a_sentence(
    model: Model, make_model: Callable[..., DenoiserModel], make_encoder: Callable[..., Path]
) -> None:
    with pytest.raises(InputError, match="trained without captions: leave the prompt out"):
        make_model().sample(1, prompt="a star")
    for empty in ("", " ", [], ["a star", ""]):
        with pytest.raises(InputError, match="A prompt is a text, such as 'a red apple', and not empty"):
            model.sample(1, prompt=empty)  # type: ignore[operator]
    config = model.config
    assert isinstance(config, DenoiserConfig)
    other = {name: one.model_copy(update={"hash": "another"}) for name, one in config.told.items()}
    changed = config.model_copy(update={"told": other}).build({})
    with pytest.raises(InputError, match="is not the one that this model was trained with"):
        changed.sample(1, prompt="a star")  # type: ignore[operator]
    never = {name: one.model_copy(update={"dropout": 0.0}) for name, one in config.told.items()}
    always = config.model_copy(update={"told": never}).build({})
    with pytest.raises(InputError, match=r"needs told.*dropout above 0, by which a model learns to do without"):
        always.sample(1, guidance=0.0)  # type: ignore[operator]


def test_pictures_are_called_by_their_prompts(tmp_path: Path) -> None:
    drawn = Samples(torch.zeros(2, 1, 4, 4), prompts=["a red apple", "été/../x"])
    drawn.save(f"{tmp_path}/drawn/")
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [
        "0-a_red_apple.png",
        "1-été____x.png",
    ]
