"""Images filled in, varied and sharpened by models that were not trained for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unstir.errors import InputError
from unstir.models.denoiser import DenoiserModel
from unstir.models.editing import walked_steps
from unstir.sampling.posterior import Blur

MakeModel = Callable[..., DenoiserModel]
METHODS = ("posterior", "repaint", "replacement")
HOW = {"label": 1, "seed": 5, "steps": 4}


def images(n: int, height: int = 9, width: int = 12) -> Tensor:
    pixels = torch.randint(0, 256, (n, 1, height, width), generator=torch.Generator().manual_seed(0))
    return pixels / 127.5 - 1


def hole(height: int = 9, width: int = 12) -> Tensor:
    hidden = torch.zeros(height, width, dtype=torch.bool)
    hidden[2:7, 3:9] = True
    return hidden


@pytest.mark.parametrize("method", METHODS)
def test_known_pixels_are_returned_exactly_and_the_others_change(method: str, make_model: MakeModel) -> None:
    model, x = make_model(), images(1)
    filled = model.inpaint(x, hole(), 3, method=method, **HOW)
    assert filled.tensor.shape == (3, 1, 9, 12)
    assert torch.equal(filled.tensor[..., ~hole()], x.expand(3, 1, 9, 12)[..., ~hole()])
    assert (filled.tensor[..., hole()] != x.expand(3, 1, 9, 12)[..., hole()]).all()
    assert not torch.equal(filled.tensor[0], filled.tensor[1])
    assert torch.equal(
        filled.bytes()[..., ~hole()], ((x + 1) * 127.5).round().byte().expand(3, -1, -1, -1)[..., ~hole()]
    )
    nothing = model.inpaint(x, torch.zeros_like(hole()), 2, method=method, **HOW)
    assert torch.equal(nothing.tensor, x.expand(2, 1, 9, 12))


@pytest.mark.parametrize("sampler", ["ddpm", "dpm++2m"])
@pytest.mark.parametrize("method", METHODS)
def test_where_all_is_hidden_it_is_drawing(method: str, sampler: str, make_model: MakeModel) -> None:
    model = make_model()
    how = {**HOW, "sampler": sampler}
    filled = model.inpaint(images(1), torch.ones_like(hole()), 2, method=method, **how)
    assert torch.equal(filled.tensor, model.sample(2, **how).tensor)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_known_matters_and_batches_do_not(method: str, make_model: MakeModel) -> None:
    model, x = make_model(), images(3)
    how = {**HOW, "sampler": "ddpm", "label": [0, 1, 2]}
    together = model.inpaint(x, hole(), method=method, batch=2, **how).tensor
    for i in range(3):
        alone = model.inpaint(x[i : i + 1], hole(), method=method, **{**how, "seed": 5 + i, "label": i}).tensor
        torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-4)
    other = model.inpaint(-x, hole(), method=method, **how).tensor
    assert (other - together)[..., hole()].abs().max() > 0.01


def test_the_pull_of_known_pixels_brings_predictions_to_them(make_model: MakeModel) -> None:
    """Of an untrained network too: what is measured of the result is nearer to what was measured than without."""
    model, x = make_model(), images(2)
    how = {"label": 0, "steps": 30, "guidance": 0.0}
    y = Blur(9, 12, 1.0)(x)
    sharp, free = model.deblur(y, 1.0, **how).tensor, model.sample(2, **how).tensor
    far, near = ((Blur(9, 12, 1.0)(result) - y).square().mean() for result in (free, sharp))
    assert near < 0.25 * far


def test_a_variation_is_the_end_of_a_walk_from_the_noised_image(make_model: MakeModel) -> None:
    model, x = make_model(), images(2)
    how = {"label": [0, 1], "seed": 3, "steps": 10, "eta": 0.0}
    assert torch.equal(model.vary(x, 0.0, **how).tensor, x)
    assert torch.equal(model.vary(x, 1.0, **how).tensor, model.sample(2, **how).tensor)
    # The nearer to the image it begins, the nearer it ends.
    far = [(model.vary(x, strength, **how).tensor - x).square().mean() for strength in (0.1, 0.5, 0.9)]
    assert far[0] < far[1] < far[2]
    alone = model.vary(x[1:], 0.5, **{**how, "label": 1, "seed": 4}).tensor
    torch.testing.assert_close(alone[0], model.vary(x, 0.5, **how).tensor[1], rtol=1e-4, atol=1e-4)
    assert [walked_steps(strength, 50) for strength in (0, 0.001, 0.6, 1)] == [0, 1, 30, 50]


def test_larger_images_are_worked_on_in_tiles(make_model: MakeModel) -> None:
    model, x, hidden = make_model(), images(1, 13, 30), hole(13, 30)
    for method in METHODS:
        filled = model.inpaint(x, hidden, method=method, **HOW).tensor
        assert torch.equal(filled[..., ~hidden], x[..., ~hidden])
        assert (filled[..., hidden] != x[..., hidden]).all() and filled.isfinite().all()
    assert model.vary(x, 0.5, **HOW).tensor.shape == x.shape
    assert model.deblur(x, 1.0, **HOW).tensor.shape == x.shape


def test_wrong_arguments_are_told(make_model: MakeModel) -> None:
    model, x = make_model(), images(2)
    wrong: dict[str, Callable[[], object]] = {
        "as high and wide as the images": lambda: model.inpaint(x, hole(9, 11), **HOW),
        "told as bool": lambda: model.inpaint(x, hole().float(), **HOW),
        "No way to fill in is called 'magic'": lambda: model.inpaint(x, hole(), method="magic", **HOW),  # type: ignore[arg-type]
        "images are 1x9x12, and these are 1x8x12": lambda: model.inpaint(x[:, :, 1:], hole(8, 12), **HOW),
        "5 results were asked for of 2 images": lambda: model.vary(x, 0.5, 5, **HOW),
        "strength is from 0": lambda: model.vary(x, 1.5, **HOW),
        "sigma of a blur is above 0": lambda: model.deblur(x, 0.0, **HOW),
        "noise of blurred images is above 0": lambda: model.deblur(x, 1.0, noise=0.0, **HOW),
        "takes no 'magic'": lambda: model.vary(x, 0.5, magic=3, **HOW),
    }
    for text, call in wrong.items():
        with pytest.raises(InputError, match=text):
            call()


@pytest.mark.parametrize("method", METHODS)
def test_a_row_of_seeds_is_one_for_each(method: str, make_model: MakeModel) -> None:
    model, x = make_model(), images(1)
    how = {**HOW, "method": method}
    row = model.inpaint(x, hole(), 2, **{**how, "seed": [9, 5]}).tensor
    for seed, one in zip((9, 5), row, strict=True):
        alone = model.inpaint(x, hole(), 1, **{**how, "seed": seed}).tensor[0]
        torch.testing.assert_close(one, alone, rtol=1e-4, atol=1e-4)


def test_the_method_is_posterior_unless_it_is_said(make_model: MakeModel) -> None:
    model = make_model()
    said = model.inpaint(images(1), hole(), method="posterior", **HOW)
    assert torch.equal(model.inpaint(images(1), hole(), **HOW).tensor, said.tensor)


@pytest.mark.parametrize("method", ["repaint", "replacement"])
def test_one_step_cannot_hold_to_anything(method: str, make_model: MakeModel) -> None:
    with pytest.raises(InputError, match=f"The method {method} needs at least 2 steps, and 1 is asked for"):
        make_model().inpaint(images(1), hole(), method=method, **{**HOW, "steps": 1})


def test_a_weaker_model_may_guide_the_filling_in_of_a_model_without_labels(make_model: MakeModel) -> None:
    model, weaker = make_model(classes=0), make_model("unet", classes=0)
    how = {"method": "replacement", "steps": 4, "seed": 5}
    pushed = model.inpaint(images(1), hole(), weaker=weaker, guidance=2.0, **how).tensor
    assert (pushed - model.inpaint(images(1), hole(), **how).tensor).abs().max() > 0.01
