"""The reader of scenes: where it looks, what it answers, and what it learns from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from unstir.errors import InputError
from unstir.models.scene_reader import SceneReader, averaged
from unstir.models.systems import SceneReaderConfig

CONFIG = SceneReaderConfig(
    places={"left": (0.25, 0.5), "right": (0.75, 0.5)},
    questions={"kind": ("nothing", "bar", "dot"), "colour": ("red", "blue")},
    whole=("black", "gray", "white"),
)


def reader(*shape: int) -> SceneReader:
    """A reader in evaluation mode whose answers differ."""
    torch.manual_seed(0)
    made = CONFIG.seeing(shape, {}).build({})
    assert isinstance(made, SceneReader)
    for layer in made.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight)
    return made.eval().requires_grad_(False)


def images(count: int, *shape: int) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_heads_answer_at_each_place_from_what_lies_around_it() -> None:
    made, x = reader(3, 32, 48), images(2, 3, 32, 48)
    features = made.body(x)
    assert features.shape == (2, 128, 8, 12)
    (kinds, colours), whole = made.logits(x)
    assert kinds.shape == (2, 2, 3) and colours.shape == (2, 2, 2) and whole.shape == (2, 3)
    for place, columns in enumerate((slice(2, 4), slice(8, 10))):
        around = features[:, :, 3:5, columns].mean((2, 3))
        torch.testing.assert_close(kinds[:, place], around @ made.heads[0].weight.T + made.heads[0].bias)
        torch.testing.assert_close(colours[:, place], around @ made.heads[1].weight.T + made.heads[1].bias)
    torch.testing.assert_close(whole, features.mean((2, 3)) @ made.whole.weight.T + made.whole.bias)


def test_what_is_not_there_has_no_further_answer() -> None:
    made, x = reader(3, 32, 32), images(40, 3, 32, 32)
    made.heads[0].bias -= made.logits(x)[0][0].mean((0, 1))  # so that each answer is one of some images
    answers = made.read(x)
    assert answers.shape == (40, 5) and answers.dtype == torch.int64
    (kinds, colours), whole = made.logits(x)
    assert torch.equal(answers[:, 4], whole.argmax(1))
    nothing = 0
    for place in range(2):
        kind, colour = answers[:, 2 * place], answers[:, 2 * place + 1]
        assert torch.equal(kind, kinds[:, place].argmax(1))
        assert torch.equal(colour == -1, kind == 0)
        assert torch.equal(colour[kind > 0], colours[kind > 0, place].argmax(1))
        nothing += int((kind == 0).sum())
    assert 0 < nothing < 80


def test_images_of_other_sizes_are_averaged_to_its_own() -> None:
    made, x = reader(3, 32, 32), images(20, 3, 32, 32)
    larger = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    noise = torch.randn(20, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    larger[:, :, ::2, ::2] += noise
    larger[:, :, 1::2, 1::2] -= noise
    assert torch.equal(made.read(larger), made.read(x))
    # Of a size between them, as a whole multiple of it would be.
    between = images(2, 3, 48, 80)
    finer = between.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = finer.reshape(2, 3, 32, 3, 32, 5).mean((3, 5))
    torch.testing.assert_close(averaged(between, (32, 32)), expected, rtol=0, atol=1e-6)
    with pytest.raises(InputError, match=r"\(N, 3, H, W\), and these are \(2, 1, 32, 32\)"):
        made.read(torch.zeros(2, 1, 32, 32))


def test_the_loss_is_that_of_all_answers_but_the_missing_ones() -> None:
    made, x = reader(3, 32, 32), images(3, 3, 32, 32)
    told = torch.tensor([[1, 0, 2, 1, 2], [0, -1, 2, 0, 0], [0, -1, 0, -1, 1]])
    batch = made.prepare((x, {"answers": told.float()}), torch.Generator())
    assert torch.equal(batch["x"], x)  # only in training are images moved
    (loss,) = made.losses("main", batch, made).values()
    (kinds, colours), whole = made.logits(x)
    for i, row in enumerate(told.tolist()):
        parts = [
            (kinds[i, 0], row[0]),
            (colours[i, 0], row[1]),
            (kinds[i, 1], row[2]),
            (colours[i, 1], row[3]),
            (whole[i], row[4]),
        ]
        expected = -sum(functional.log_softmax(logits, 0)[answer] for logits, answer in parts if answer >= 0)
        torch.testing.assert_close(loss[i], expected)


def test_training_moves_images_and_it_is_asked_to_read_alone() -> None:
    made, x = reader(3, 32, 32).train(), images(6, 3, 32, 32)
    told = {"answers": torch.zeros(6, 5)}
    one, same = (made.prepare((x, told), torch.Generator().manual_seed(0))["x"] for _ in range(2))
    assert torch.equal(one, same) and not torch.equal(one, x)
    with pytest.raises(InputError, match="is a reader of scenes and cannot draw images: it can read scenes"):
        made.config.require("draw")
    assert made.config.reads == ("answers",)
