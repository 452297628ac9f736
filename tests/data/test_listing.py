from __future__ import annotations

import numpy as np
import pytest

from unstir.data.columns import Column
from unstir.data.listing import Listing, hold_back
from unstir.errors import InputError


def listing(n: int) -> Listing:
    return Listing(
        indices=np.arange(n) + 1000,
        read=lambda indices: [str(i).encode() for i in indices],
        name=str,
        columns={
            "label": Column("classes", np.arange(n) * 2, tuple("abcdefghijklmnopqrst")),
            "caption": Column("text", tuple(f"caption {i}" for i in range(n))),
        },
        pictures={"edges": lambda indices: [f"edges {i}".encode() for i in indices]},
    )


def test_taking_keeps_everything_together() -> None:
    some = listing(10).take(np.array([7, 2]))
    assert some.read(some.indices) == [b"1007", b"1002"]
    assert some.columns["label"].array.tolist() == [14, 4]
    assert some.columns["label"].classes == tuple("abcdefghijklmnopqrst")
    assert some.columns["caption"].values == ("caption 7", "caption 2")
    assert some.pictures["edges"](some.indices) == [b"edges 1007", b"edges 1002"]


@pytest.mark.parametrize(("n", "held"), [(2, 1), (39, 1), (40, 2), (1000, 50), (300_000, 10_000)])
def test_a_twentieth_is_held_back(n: int, held: int) -> None:
    train, held_out = hold_back(Listing(np.arange(n), list, str), "x")
    assert len(held_out) == held
    np.testing.assert_array_equal(np.sort(np.concatenate([train.indices, held_out.indices])), np.arange(n))
    assert (np.diff(train.indices) > 0).all()


def test_it_is_the_same_one_each_time_and_spread_out() -> None:
    (_, first), (_, second) = (hold_back(Listing(np.arange(1000) + 1000, list, str), "x") for _ in range(2))
    np.testing.assert_array_equal(first.indices, second.indices)
    assert 300 < first.indices.mean() - 1000 < 700 and np.ptp(first.indices) > 800


def labelled(labels: list[int]) -> Listing:
    column = Column("classes", np.array(labels), tuple(map(str, range(1 + max(labels)))))
    return Listing(np.arange(len(labels)), list, str, {"label": column})


@pytest.mark.parametrize("seed", range(20))
def test_of_each_class_an_image_stays_to_train_on(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(30), random.integers(0, 30, random.integers(1, 90))])
    random.shuffle(labels)
    train, held_out = hold_back(labelled(labels.tolist()), "x")
    assert len(held_out) == max(1, len(labels) // 20)
    np.testing.assert_array_equal(np.sort([*train.indices, *held_out.indices]), np.arange(len(labels)))
    assert {*labels[train.indices]} == {*range(30)}
    # Which images these are does not change where no class would lose its last.
    _, plain = hold_back(Listing(np.arange(len(labels)), list, str), "x")
    if {*np.delete(labels, plain.indices)} == {*range(30)}:
        np.testing.assert_array_equal(held_out.indices, plain.indices)


def test_of_classes_of_one_image_all_are_trained_on_and_one_is_held_out_as_well() -> None:
    for labels in ([0, 1], [*range(40)]):
        train, held_out = hold_back(labelled(labels), "x")
        assert train.indices.tolist() == labels and len(held_out) == 1
    # Images without a label are no class of their own.
    train, held_out = hold_back(labelled([0, -1, 1, -1, 2]), "x")
    assert len(held_out) == 1 and held_out.indices[0] in (1, 3) and len(train) == 4
    train, held_out = hold_back(labelled([0, -1, 1]), "x")
    assert train.indices.tolist() == [0, 2] and held_out.indices.tolist() == [1]


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_to_hold_any_back(n: int) -> None:
    with pytest.raises(InputError, match="at least 2"):
        hold_back(listing(n), "x")
