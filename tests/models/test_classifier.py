"""The classifier: what it reads in images of any shape, and how it is trained."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unstir.errors import InputError
from unstir.models.classifier import Classifier, shifted
from unstir.models.config import SampleInfo
from unstir.models.systems import ClassifierConfig

FACTS = {"label": {"kind": "classes", "classes": ("a", "b", "c")}}


def classifier(*shape: int) -> Classifier:
    """A classifier of three classes in evaluation mode: batch norms have statistics, and images are told apart."""
    torch.manual_seed(0)
    made = ClassifierConfig().seeing(shape, FACTS).build({})
    assert isinstance(made, Classifier)
    for layer in made.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2)
        elif isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    return made.eval().requires_grad_(False)


def images(count: int, *shape: int) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 8, 8), (4, 5, 17), (1, 28, 28), (3, 64, 40), (2, 130, 140)])
def test_body_halves_until_the_shorter_side_is_at_most_8(shape: tuple[int, ...]) -> None:
    made, x = classifier(*shape), images(2, *shape)
    before_averaging = made.body(x)
    side = min(before_averaging.shape[2:])
    assert side <= 8 and (side > 4 or min(shape[1:]) <= 8)
    torch.testing.assert_close(made.features(x), before_averaging.mean(dim=(2, 3)))
    assert made.features(x).shape == (2, ClassifierConfig.features) and made.features(x).min() >= 0


def test_it_reads_features_and_probabilities_in_float64_whatever_the_batch() -> None:
    made, x = classifier(2, 9, 12), images(503, 2, 9, 12)  # 500 are read at a time
    features, probabilities = made.read(x)
    assert features.dtype == probabilities.dtype == torch.float64
    torch.testing.assert_close(features, made.features(x).double(), rtol=1e-4, atol=1e-6)
    logits = features.float() @ made.head.weight.T + made.head.bias
    torch.testing.assert_close(probabilities, logits.double().softmax(1), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(503, dtype=torch.float64), rtol=1e-12, atol=0)
    assert probabilities.std(0).min() > 5e-3  # in another order they are others
    for size in (7, 359):
        parts = [made.read(part) for part in x.split(size)]
        torch.testing.assert_close(torch.cat([part[0] for part in parts]), features, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.cat([part[1] for part in parts]), probabilities, rtol=1e-3, atol=1e-5)


def test_its_verbs_are_to_embed_and_to_classify() -> None:
    made, x = classifier(1, 8, 8), images(5, 1, 8, 8)
    features, probabilities = made.read(x)
    assert torch.equal(made.embed(x), features) and torch.equal(made.classify(x), probabilities)
    assert made.config.features == features.shape[1]
    for verb in ("embed", "classify"):
        made.config.require(verb)
    with pytest.raises(
        InputError, match=r"is a classifier of clean images and cannot draw images: it can classify"
    ):
        made.config.require("draw")


def test_images_of_another_shape_are_refused() -> None:
    made = classifier(1, 12, 20)
    for read in (made.read, made.embed, made.classify):
        with pytest.raises(InputError, match="1x12x20, and these are 1x20x12"):
            read(torch.zeros(3, 1, 20, 12))


def test_the_loss_is_the_cross_entropy_of_each_image() -> None:
    made, x, label = classifier(1, 8, 8), images(3, 1, 8, 8), torch.tensor([2, 0, 1])
    batch = made.prepare((x, {"label": label}), torch.Generator())
    assert torch.equal(batch["x"], x)  # only in training are images moved
    (loss,) = made.losses("main", batch, made).values()
    expected = -made.classify(x)[torch.arange(3), label].log()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    assert len(set(loss.tolist())) == 3


def test_in_training_images_are_moved_by_what_the_generator_says() -> None:
    made, x, label = classifier(1, 24, 24).train(), images(6, 1, 24, 24), torch.arange(6) % 3
    one, same, other = (
        made.prepare((x, {"label": label}), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(one["x"], same["x"]) and not torch.equal(one["x"], other["x"])
    assert torch.equal(one["x"], shifted(x, torch.Generator().manual_seed(0)))
    assert torch.equal(one["label"], label)


def test_shifts_move_each_image_whole() -> None:
    x = torch.randn(40, 2, 24, 36)
    moved = shifted(x, torch.Generator().manual_seed(0))
    seen = set()
    for before, after in zip(x, moved):
        inner = after[:, 6:-6, 6:-6]
        hits = [
            (down, right)
            for down in range(-3, 4)
            for right in range(-4, 5)
            if torch.equal(inner, before[:, 6 + down : 18 + down, 6 + right : 30 + right])
        ]
        assert len(hits) == 1
        seen.update(hits)
    assert {down for down, _ in seen} == set(range(-2, 3))
    assert {right for _, right in seen} == set(range(-3, 4))


def test_edges_are_repeated_where_an_image_has_moved_away() -> None:
    x = images(30, 1, 12, 12)
    moved = shifted(x, torch.Generator().manual_seed(0))
    for before, after in zip(x, moved):
        padded = torch.nn.functional.pad(before[None], (1, 1, 1, 1), mode="replicate")[0]
        assert any(
            torch.equal(after, padded[:, row : row + 12, column : column + 12])
            for row in range(3)
            for column in range(3)
        )


def test_it_is_made_for_the_classes_of_its_data() -> None:
    seen = ClassifierConfig().seeing((1, 8, 8), FACTS)
    assert (seen.labels, seen.samples) == (("a", "b", "c"), SampleInfo(shape=(1, 8, 8)))
    assert seen.build({}).head.out_features == 3  # type: ignore[union-attr]
    for classes in ((), ("one",)):
        facts = {"label": {"kind": "classes", "classes": classes}} if classes else {}
        with pytest.raises(InputError, match=f"two classes or more, and these have {len(classes)}"):
            ClassifierConfig().seeing((1, 8, 8), facts)
