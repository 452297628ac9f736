"""Conditions: what is hidden stays hidden, and joining keeps the images in order."""

import pytest
import torch

from unstir.diffusion import Condition


def everything(n: int, start: int = 0) -> Condition:
    return Condition(
        vector=torch.arange(start, start + n),
        tokens=torch.arange(start, start + n).float().reshape(n, 1, 1).expand(n, 3, 4),
        image=torch.arange(start, start + n).float().reshape(n, 1, 1, 1).expand(n, 1, 2, 2),
    )


def test_hiding_hides_the_given_images_or_all() -> None:
    condition = everything(3)
    mask = torch.tensor([False, True, False])
    assert condition.hide(mask).hidden.tolist() == [False, True, False]
    assert condition.hide().hidden.tolist() == [True, True, True]
    assert condition.hidden is None


def test_what_is_hidden_stays_hidden() -> None:
    condition = everything(3).hide(torch.tensor([True, False, False]))
    assert condition.hide(torch.tensor([False, False, True])).hidden.tolist() == [True, False, True]
    assert condition.drop(0.0).hidden.tolist() == [True, False, False]


def test_hiding_changes_nothing_else() -> None:
    condition = everything(3)
    hidden = condition.hide()
    assert hidden.vector is condition.vector
    assert hidden.tokens is condition.tokens and hidden.image is condition.image


def test_dropping_has_the_asked_frequency() -> None:
    n = 40_000
    hidden = everything(n).drop(0.1, torch.Generator().manual_seed(0)).hidden
    # Five standard deviations of a binomial of 40,000 at 0.1.
    assert hidden.double().mean().item() == pytest.approx(0.1, abs=5 * (0.09 / n) ** 0.5)
    assert not everything(1000).drop(0.0).hidden.any()
    assert everything(1000).drop(1.0).hidden.all()


def test_images_are_dropped_independently() -> None:
    hidden = everything(40_000).drop(0.5, torch.Generator().manual_seed(1)).hidden.double()
    agreement = (hidden[1:] == hidden[:-1]).double().mean().item()
    assert agreement == pytest.approx(0.5, abs=5 * (0.25 / 40_000) ** 0.5)


def test_dropping_is_decided_by_its_generator_alone() -> None:
    first = everything(100).drop(0.5, torch.Generator().manual_seed(3)).hidden
    torch.rand(17)
    again = everything(100).drop(0.5, torch.Generator().manual_seed(3)).hidden
    other = everything(100).drop(0.5, torch.Generator().manual_seed(4)).hidden
    assert torch.equal(first, again) and not torch.equal(first, other)
    before = torch.random.get_rng_state()
    everything(100).drop(0.5, torch.Generator().manual_seed(3))
    assert torch.equal(before, torch.random.get_rng_state())


def test_joining_keeps_order_and_hiding() -> None:
    joined = everything(2).beside(everything(3, start=10).hide(torch.tensor([False, True, False])))
    assert joined.vector.tolist() == [0, 1, 10, 11, 12]
    assert joined.tokens[:, 2, 3].tolist() == joined.image[:, 0, 1, 1].tolist() == [0, 1, 10, 11, 12]
    assert joined.hidden.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("part", ["vector", "tokens", "image"])
def test_any_part_alone_will_do(part: str) -> None:
    alone = Condition(**{part: getattr(everything(2), part)})
    joined = alone.beside(alone.hide())
    assert joined.hidden.tolist() == [False, False, True, True]
    for other in {"vector", "tokens", "image"} - {part}:
        assert getattr(joined, other) is None
