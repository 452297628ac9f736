"""Drawing away from a weaker model: known answers of one step, and what may not guide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from unstir.errors import InputError
from unstir.models.denoiser import DenoiserModel
from unstir.networks.told import Told
from unstir.sampling import SeededNoise, grid

MakeModel = Callable[..., DenoiserModel]


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("precisions", [("float32", "float32"), ("float32", "bf16"), ("bf16", "float32")], ids=str)
def test_one_step_is_pushed_from_what_the_weaker_one_says(
    classes: int, precisions: tuple[str, str], make_model: MakeModel
) -> None:
    model = make_model(classes=classes, precision=precisions[0], samples={"bounded": False})
    weaker = make_model("unet", classes=classes, precision=precisions[1], samples={"bounded": False})
    how: dict[str, Any] = {"n": 2, "steps": 1, "eta": 0.0, "clip": "none"}
    label = {"label": 1} if classes else {}
    drawn = model.sample(weaker=weaker, guidance=1.5, **how, **label).tensor
    level = grid(model.schedule, 1, "trailing")[0]
    x = SeededNoise([0, 1])(drawn)
    condition = model.condition({"label": [1, 1]}) if classes else None
    with torch.no_grad():
        strong, weak = (each.denoiser(x, level, condition).x0 for each in (model, weaker))
    assert (strong - weak).abs().max() > 0.1
    exact = precisions == ("float32", "float32")
    torch.testing.assert_close(drawn, strong + 1.5 * (strong - weak), rtol=1e-4, atol=1e-4 if exact else 0.1)


@pytest.mark.parametrize(("own", "others"), [("bf16", "float32"), ("float32", "bf16")])
def test_each_computes_in_its_own_number_format(own: str, others: str, make_model: MakeModel) -> None:
    model, weaker = make_model(precision=own), make_model("unet", precision=others)
    seen: dict[str, set[torch.dtype]] = {}
    for name, each in {own: model, others: weaker}.items():
        each.settled, kept = True, seen.setdefault(name, set())  # one copy computes from now on
        for layer in each.lowered().modules():
            if isinstance(layer, torch.nn.Linear):
                layer.register_forward_hook(lambda _, __, out, kept=kept: kept.add(out.dtype))
    model.sample(1, weaker=weaker, guidance=1.0, steps=1, label=0)
    assert seen == {"bf16": {torch.bfloat16}, "float32": {torch.float32}}


def test_away_from_itself_is_nowhere(make_model: MakeModel) -> None:
    model = make_model()
    how: dict[str, Any] = {"steps": 4, "label": [0, 2, 1]}
    pushed = model.sample(3, weaker=make_model(), guidance=3.0, **how).tensor
    torch.testing.assert_close(pushed, model.sample(3, guidance=0.0, **how).tensor, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        ({"shape": (1, 8, 12)}, {}, "draws other samples than the model"),
        ({"classes": 2}, {}, "told the same, with the same classes: it is told label, and the model label"),
        ({"classes": 0}, {}, "it is told nothing, and the model label"),
        ({"told": {"size": Told(kind="numbers", width=1)}}, {}, "(size, label|label, size), and the model label"),
        (
            {"diffusion": {"schedule": {"name": "linear"}}},
            {},
            r"another schedule \(linear\) than the model \(cosine\)",
        ),
        ({"diffusion": {"schedule": {"name": "single"}}}, {}, "cannot predict clean images at every level"),
        ({}, {"guidance": 0.0}, "needs a guidance above 0, such as 1"),
    ],
)
def test_what_is_not_of_a_kind_is_refused(
    values: dict[str, Any], options: dict[str, Any], said: str, make_model: MakeModel
) -> None:
    weaker = make_model(**values)
    with pytest.raises(InputError, match=said):
        make_model().sample(2, weaker=weaker, **{"guidance": 1.0} | options)
