"""Conditions: what is hidden stays hidden, parts are dropped each on its own, joining keeps images in order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unstir.diffusion import Condition, Sockets
from unstir.errors import InputError
from unstir.networks.conditioner import Conditioner
from unstir.networks.told import Told


def everything(n: int, start: int = 0) -> Condition:
    values = torch.arange(start, start + n)
    return Condition.of(
        {
            "label": values,
            "caption": values.float().reshape(n, 1, 1).expand(n, 3, 4),
            "picture": values.float().reshape(n, 1, 1, 1).expand(n, 1, 2, 2),
        }
    )


def hidden(condition: Condition) -> dict[str, list[bool]]:
    return {name: mask.tolist() for name, (_, mask) in condition.parts.items()}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_is_hidden_at_first() -> None:
    condition = everything(3)
    assert condition.names == ("label", "caption", "picture")
    assert len(condition) == 3
    assert hidden(condition) == {name: [False] * 3 for name in condition.names}
    assert all(mask.dtype == torch.bool for _, mask in condition.parts.values())


def test_hiding_hides_the_given_parts_of_the_given_images() -> None:
    condition = everything(2)
    mask = torch.tensor([False, True])
    assert hidden(condition.hide()) == {name: [True, True] for name in condition.names}
    some = {"label": [False, True], "caption": [False, False], "picture": [False, True]}
    assert hidden(condition.hide(["label", "picture"], mask)) == some
    assert hidden(condition.hide(["picture"]))["picture"] == [True, True]
    assert hidden(condition.hide(["picture"]))["label"] == [False, False]
    assert hidden(condition.hide(mask=mask)) == {name: [False, True] for name in condition.names}
    assert hidden(condition.hide([])) == hidden(condition)
    assert hidden(condition.hide(name for name in ["label"]))["label"] == [True, True]


def test_what_is_hidden_stays_hidden() -> None:
    condition = everything(3).hide(["label"], torch.tensor([True, False, False]))
    assert hidden(condition.hide(mask=torch.tensor([False, False, True])))["label"] == [True, False, True]
    assert hidden(condition.drop({"label": 1e-12}, generator(0)))["label"] == [True, False, False]


def test_hiding_changes_nothing_else() -> None:
    condition = everything(3)
    before = hidden(condition)
    concealed = condition.hide()
    assert all(concealed.parts[name][0] is condition.parts[name][0] for name in condition.names)
    assert hidden(condition) == before


def test_hiding_what_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no part 'caprion' to hide, only label, caption, picture"):
        everything(3).hide(["caprion"])


def test_dropping_has_the_asked_frequencies() -> None:
    n = 40_000
    dropped = everything(n).drop({"label": 0.1, "caption": 0.7}, generator(0))
    for name, p in (("label", 0.1), ("caption", 0.7)):
        # Five standard deviations of a binomial.
        share = dropped.parts[name][1].double().mean().item()
        assert share == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5)
    assert not dropped.parts["picture"][1].any()
    assert everything(1000).drop({"label": 1.0}, generator(0)).parts["label"][1].all()


def test_parts_and_images_are_dropped_independently() -> None:
    n = 40_000
    dropped = everything(n).drop({"label": 0.5, "caption": 0.5}, generator(1))
    label, caption = (dropped.parts[name][1] for name in ("label", "caption"))
    for one, other in ((label[1:], label[:-1]), (label, caption), (label[1:], caption[:-1])):
        agreement = (one == other).double().mean().item()
        assert agreement == pytest.approx(0.5, abs=5 * (0.25 / n) ** 0.5)


def test_parts_that_say_the_same_are_dropped_together() -> None:
    n, source = 4000, {"caption": "text", "picture": "text"}
    p = {"label": 0.5, "caption": 0.5, "picture": 0.2}
    dropped = everything(n).drop(p, generator(1), source)
    label, caption, picture = (dropped.parts[name][1] for name in p)
    assert not (picture & ~caption).any()  # the one that is dropped less often goes with the other
    assert picture.double().mean().item() == pytest.approx(0.2, abs=5 * (0.16 / n) ** 0.5)
    assert (label == caption).double().mean().item() == pytest.approx(0.5, abs=5 * (0.25 / n) ** 0.5)
    alike = everything(n).drop({"caption": 0.3, "picture": 0.3}, generator(1), source)
    assert torch.equal(alike.parts["caption"][1], alike.parts["picture"][1])


def test_a_part_that_is_not_dropped_takes_no_random_numbers() -> None:
    p, source, other = {"caption": 0.5, "picture": 0.3}, generator(3), generator(3)
    dropped = everything(100).drop({**p, "label": 0.0, "unheard": 0.9}, source)
    alone = Condition.of({"picture": torch.zeros(100), "caption": torch.zeros(100)}).drop(p, other)
    for name in p:  # whatever the order in which the parts come, and whatever parts there are besides
        assert torch.equal(dropped.parts[name][1], alone.parts[name][1])
    assert torch.equal(source.get_state(), other.get_state())
    untouched = generator(3)
    everything(100).drop({"label": 0.0}, untouched)
    assert torch.equal(untouched.get_state(), generator(3).get_state())


def test_dropping_is_decided_by_its_generator_alone() -> None:
    first = everything(100).drop({"label": 0.5}, generator(3)).parts["label"][1]
    torch.rand(17)
    again = everything(100).drop({"label": 0.5}, generator(3)).parts["label"][1]
    other = everything(100).drop({"label": 0.5}, generator(4)).parts["label"][1]
    assert torch.equal(first, again) and not torch.equal(first, other)
    before = torch.random.get_rng_state()
    everything(100).drop({"label": 0.5}, generator(3))
    assert torch.equal(before, torch.random.get_rng_state())


def test_joining_keeps_order_and_hiding() -> None:
    other = everything(3, start=10).hide(["caption"], torch.tensor([False, True, False]))
    joined = everything(2).beside(Condition(dict(reversed(other.parts.items()))))
    assert joined.parts["label"][0].tolist() == [0, 1, 10, 11, 12]
    assert joined.parts["caption"][0][:, 2, 3].tolist() == [0, 1, 10, 11, 12]
    assert joined.parts["picture"][0][:, 0, 1, 1].tolist() == [0, 1, 10, 11, 12]
    assert hidden(joined) == {
        "label": [False] * 5,
        "caption": [False, False, False, True, False],
        "picture": [False] * 5,
    }
    assert joined.names == ("label", "caption", "picture")


def test_only_like_conditions_are_joined() -> None:
    with pytest.raises(ValueError, match="one has label, caption, picture, the other label"):
        everything(2).beside(Condition.of({"label": torch.arange(2)}))


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        (slice(1, 3), [1, 2]),
        (torch.tensor([3, 0, 0]), [3, 0, 0]),
        (torch.tensor([True, False, False, True]), [0, 3]),
    ],
    ids=["slice", "indices", "mask"],
)
def test_rows_of_values_and_masks(rows: slice | Tensor, left: list[int]) -> None:
    condition = everything(4).hide(["caption"], torch.tensor([False, False, True, True]))[rows]
    assert len(condition) == len(left)
    assert condition.parts["label"][0].tolist() == condition.parts["caption"][0][:, 0, 0].tolist() == left
    assert hidden(condition)["caption"] == [row > 1 for row in left]


def test_mapping_reaches_every_tensor() -> None:
    condition = everything(3).hide(["label"], torch.tensor([True, False, False]))
    turned = condition.map(lambda tensor: tensor.flip(0))
    assert turned.parts["label"][0].tolist() == [2, 1, 0]
    assert turned.parts["label"][1].tolist() == [False, False, True]
    assert turned.parts["picture"][0][:, 0, 0, 0].tolist() == [2, 1, 0]
    meta = condition.to("meta")
    assert {tensor.device.type for part in meta.parts.values() for tensor in part} == {"meta"}


def test_a_condition_has_one_batch() -> None:
    with pytest.raises(ValueError, match="of one batch; here are label 3, age 4"):
        Condition.of({"label": torch.arange(3), "age": torch.zeros(4, 1)})
    with pytest.raises(ValueError, match="of one batch"):
        Condition({"label": (torch.arange(3), torch.zeros(2, dtype=torch.bool))})


def test_a_condition_without_parts_tells_nothing() -> None:
    nothing = Condition()
    every = (nothing, Condition({}), Condition.of({}), nothing.hide(), nothing.hide(mask=torch.ones(3)))
    every += (nothing.drop({"label": 0.5}, generator(3)), nothing.beside(Condition()), nothing[:2])
    for condition in (*every, nothing.to("cpu"), nothing.map(torch.neg)):
        assert condition.names == ()
        assert len(condition) == 0
    with pytest.raises(InputError, match=r"no part 'label' to hide, nor any other$"):
        nothing.hide(["label"])
    conditioner = Conditioner({"label": Told(kind="classes", classes=("a", "b"))}, 8, 8)
    x = torch.zeros(3, 1, 2, 2)
    assert torch.equal(conditioner(nothing, x).vector, conditioner(None, x).vector)


def test_the_image_socket_is_behind_the_input() -> None:
    x, image = torch.zeros(2, 3, 4, 5), torch.ones(2, 2, 4, 5)
    assert Sockets().with_image(x) is x
    assert Sockets(image=image).with_image(x)[:, :, 0, 0].tolist() == [[0, 0, 0, 1, 1]] * 2
