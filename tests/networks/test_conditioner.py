"""From names to sockets: each part's code by hand, and the learned null where a part is hidden or missing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.diffusion import Condition, Sockets
from unstir.networks.conditioner import Conditioner, label_index
from unstir.networks.told import Told

CLASSES = ("cat", "dog", "owl")
PARTS: dict[str, dict[str, object]] = {
    "classes": {"kind": "classes", "classes": CLASSES},
    "numbers": {"kind": "numbers", "width": 2, "mean": (3.0, -1.0), "std": (2.0, 0.5)},
    "embedding": {"kind": "embedding", "width": 5},
    "picture": {"kind": "picture", "width": 2},
}
X = torch.zeros(4, 3, 6, 8)
SOME = torch.tensor([False, True, False, True])


def values(kind: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if kind == "classes":
        return torch.tensor([2, 0, 1, 1])
    shape = {"numbers": (4, 2), "embedding": (4, 5), "picture": (4, 2, 6, 8)}[kind]
    return torch.randn(shape, generator=generator)


def conditioner(**told: Told) -> Conditioner:
    torch.manual_seed(1)
    result = Conditioner(told, vector=6, tokens=7)
    for name, parameter in result.named_parameters():
        if name.endswith("null"):
            nn.init.normal_(parameter)
    return result


def told_by(sockets: Sockets, name: str) -> Tensor:
    """Return the tensor of a socket, the only one that is told anything."""
    full = {socket for socket in ("vector", "tokens", "image") if getattr(sockets, socket) is not None}
    assert full == {name}
    return getattr(sockets, name)


def code(part: nn.Module, kind: str, value: Tensor) -> Tensor:
    """Return what an encoder should give, by hand."""
    if kind == "classes":
        return part.table.weight[value]
    if kind == "numbers":
        first, _, second = part.encode
        h = (value - torch.tensor([3.0, -1.0])) / torch.tensor([2.0, 0.5]) @ first.weight.T + first.bias
        return (h * h.sigmoid()) @ second.weight.T + second.bias
    if kind == "embedding":
        return value @ part.encode.weight.T + part.encode.bias
    return value


def null(part: nn.Module, kind: str) -> Tensor:
    if kind == "classes":
        return part.table.weight[3]
    return part.null[:, None, None] if kind == "picture" else part.null


CASES = [
    *((kind, socket) for kind in ("classes", "numbers", "embedding") for socket in ("vector", "tokens", "image")),
    ("picture", "image"),
]


@pytest.mark.parametrize(("kind", "socket"), CASES)
def test_a_part_is_encoded_into_its_socket_and_hidden_is_its_null(kind: str, socket: str) -> None:
    told = conditioner(part=Told(**PARTS[kind], socket=socket))
    encoder, value = told.encoders["part"], values(kind)
    expected, nothing = code(encoder, kind, value), null(encoder, kind)
    assert nothing.abs().max() > 0.01
    rows = torch.where(SOME.view(-1, *[1] * (expected.dim() - 1)), nothing, expected)
    nothing = nothing.expand(rows.shape)
    if socket == "tokens":
        rows, nothing = rows[:, None], nothing[:, None]
    if socket == "image" and kind != "picture":
        rows, nothing = (part[:, :, None, None].expand(-1, -1, 6, 8) for part in (rows, nothing))
    width = {"vector": 6, "tokens": 7, "image": 2 if kind == "picture" else 8}[socket]
    condition = Condition.of({"part": value})
    result = told_by(told(condition.hide(mask=SOME), X), socket)
    assert result.shape[2 if socket == "tokens" else 1] == width
    assert told.image_channels == (width if socket == "image" else 0)
    torch.testing.assert_close(result, rows)
    for hidden in (None, condition.hide(), Condition.of({"another": value})):
        torch.testing.assert_close(told_by(told(hidden, X), socket), nothing, rtol=0, atol=0)


def test_each_kind_has_a_usual_socket() -> None:
    told = conditioner(**{kind: Told(**part) for kind, part in PARTS.items()})
    assert [told.told[kind].enters for kind in PARTS] == ["vector", "vector", "vector", "image"]


def test_vectors_are_added() -> None:
    names = ("classes", "numbers", "embedding")
    told = conditioner(**{name: Told(**PARTS[name]) for name in names})
    condition = Condition.of({name: values(name) for name in names}).hide(["numbers"], SOME)
    parts = [code(told.encoders[name], name, values(name)) for name in names]
    parts[1] = torch.where(SOME[:, None], null(told.encoders["numbers"], "numbers"), parts[1])
    torch.testing.assert_close(told_by(told(condition, X), "vector"), parts[0] + parts[1] + parts[2])


def test_tokens_come_one_part_after_another() -> None:
    told = conditioner(
        sequence=Told(kind="embedding", width=5, length=3, socket="tokens"),
        label=Told(kind="classes", classes=CLASSES, socket="tokens"),
    )
    sequence = torch.randn(4, 3, 5)
    condition = Condition.of({"label": values("classes"), "sequence": sequence}).hide(["sequence"], SOME)
    tokens = told_by(told(condition, X), "tokens")
    encoder = told.encoders["sequence"]
    expected = torch.where(SOME[:, None, None], encoder.null, code(encoder, "embedding", sequence))
    torch.testing.assert_close(tokens[:, :3], expected)
    assert torch.equal(tokens[:, 3], told.encoders["label"].table.weight[values("classes")])
    # Left out, a sequence says what it says where it is hidden.
    hidden = told(condition.hide(["sequence"]), X).tokens
    left_out = told(Condition.of({"label": values("classes")}), X).tokens
    assert torch.equal(hidden, left_out) and hidden.shape == (4, 4, 7)
    assert torch.equal(told(None, X).tokens, told(condition.hide(), X).tokens)


def test_channels_come_one_part_after_another() -> None:
    told = conditioner(
        depth=Told(kind="picture", width=1),
        label=Told(**PARTS["classes"], socket="image"),
        rgb=Told(**PARTS["picture"]),
    )
    depth = torch.randn(4, 1, 6, 8)
    condition = Condition.of({"rgb": values("picture"), "depth": depth, "label": values("classes")})
    image = told_by(told(condition, X), "image")
    assert told.image_channels == 11
    assert torch.equal(image[:, :1], depth)
    assert torch.equal(image[:, 1:9, 2, 5], told.encoders["label"].table.weight[values("classes")])
    assert torch.equal(image[:, 9:], values("picture"))


@pytest.mark.parametrize("size", [(3, 4), (12, 16), (6, 16), (7, 5)], ids=str)
def test_pictures_are_brought_to_the_size_of_the_images(size: tuple[int, int]) -> None:
    told = conditioner(picture=Told(**PARTS["picture"]))
    picture = torch.randn(4, 2, *size)
    shrinks = size[0] > 6 or size[1] > 8
    expected = functional.interpolate(picture, size=(6, 8), mode="bilinear", antialias=shrinks)
    image = told_by(told(Condition.of({"picture": picture}).hide(mask=SOME), X), "image")
    torch.testing.assert_close(image[~SOME], expected[~SOME])
    if size == (12, 16):  # a mean over the 2x2 pixels, and a little of their neighbours
        level = torch.full((4, 2, 12, 16), 0.7)
        torch.testing.assert_close(told(Condition.of({"picture": level}), X).image, torch.full((4, 2, 6, 8), 0.7))
    assert torch.equal(image[SOME], told.encoders["picture"].null[:, None, None].expand(2, 2, 6, 8))


@pytest.mark.parametrize("kind", ["numbers", "embedding", "picture"])
def test_what_is_hidden_may_be_no_number(kind: str) -> None:
    told = conditioner(part=Told(**PARTS[kind]))
    value = values(kind)
    results = []
    for hidden in (0.0, float("nan")):
        told.zero_grad()
        value[SOME] = hidden
        sockets = told(Condition.of({"part": value}).hide(mask=SOME), X)
        result = sockets.image if kind == "picture" else sockets.vector
        result.square().sum().backward()
        results.append([result.detach(), *(p.grad.clone() for p in told.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    assert all(result.isfinite().all() for result in results[1])


def test_label_index() -> None:
    labels = torch.tensor([2, 0, 1])
    assert label_index(None, X[:3], 5).tolist() == [5, 5, 5]
    assert label_index((labels, torch.zeros(3, dtype=torch.bool)), X[:3], 5).tolist() == [2, 0, 1]
    assert label_index((labels, torch.tensor([False, True, False])), X[:3], 5).tolist() == [2, 5, 1]


@pytest.mark.parametrize("name", ["type", "items", "training", "weight", "a b"])
def test_a_part_may_be_called_anything(name: str) -> None:
    told = conditioner(**{name: Told(**PARTS["embedding"])})
    assert f"encoders.{name}.null" in told.state_dict()
    other = Conditioner({name: Told(**PARTS["embedding"])}, 6, 7)
    other.load_state_dict(told.state_dict())
    condition = Condition.of({name: values("embedding")})
    assert torch.equal(other(condition, X).vector, told(condition, X).vector)


def test_mean_and_std_are_of_the_configuration_and_not_of_the_weights() -> None:
    assert {*conditioner(age=Told(**PARTS["numbers"])).state_dict()} == {
        "encoders.age.null",
        *(f"encoders.age.encode.{i}.{name}" for i in (0, 2) for name in ("weight", "bias")),
    }


def test_what_does_not_fit_is_refused() -> None:
    told = conditioner(part=Told(**PARTS["embedding"]))
    with pytest.raises(ValueError, match="a condition of 3 images cannot go with 4"):
        told(Condition.of({"part": torch.randn(3, 5)}), X)
    with pytest.raises(ValueError, match="part is a sequence, which enters the socket tokens only, not vector"):
        told(Condition.of({"part": torch.randn(4, 3, 5)}), X)
    assert conditioner()(None, X).vector is None


def test_a_text_is_standardized_and_has_a_learned_row_behind_its_last_token() -> None:
    told = conditioner(
        words=Told(kind="text", encoder="any", width=5, length=4),
        gist=Told(kind="text", encoder="any", width=5, socket="vector"),
    )
    words, gist = told.encoders["words"], told.encoders["gist"]
    value = 30 * torch.randn(4, 4, 5) + 7
    value[0, 2:], value[1, 1:], value[2] = 0, 0, 0
    whole = torch.randn(4, 5)
    whole[2] = 0
    hidden = torch.tensor([False, False, False, True])
    sockets = told(Condition.of({"words": value, "gist": whole}).hide(mask=hidden), X)

    def by_hand(encode: nn.Module, given: Tensor) -> Tensor:
        standard = (given - given.mean(-1, keepdim=True)) / (
            given.var(-1, unbiased=False, keepdim=True) + 1e-5
        ).sqrt()
        return standard @ encode[1].weight.T + encode[1].bias

    expected = by_hand(words.features.encode, value)
    expected[0, 2:], expected[1, 1:] = words.padding, words.padding
    expected[2:] = words.features.null  # no text, and a hidden one
    torch.testing.assert_close(sockets.tokens, expected)
    vector = by_hand(gist.features.encode, whole)
    vector[2:] = gist.features.null
    torch.testing.assert_close(sockets.vector, vector)
    assert not torch.allclose(words.padding, words.features.null)
    nothing = told(None, X)
    assert torch.equal(nothing.tokens, words.features.null.expand(4, 4, 7))
    assert torch.equal(nothing.vector, gist.features.null.expand(4, 6))


def test_what_stands_behind_a_text_changes_no_weight_but_its_own() -> None:
    told = conditioner(words=Told(kind="text", encoder="any", width=5, length=3))
    value = torch.zeros(4, 3, 5)
    value[:, 0] = torch.randn(4, 5)
    tokens = told(Condition.of({"words": value}), X).tokens
    tokens[:, 1:].square().sum().backward()
    words = told.encoders["words"]
    assert words.padding.grad.abs().min() > 0
    assert not words.features.encode[1].weight.grad.any() and not words.features.null.grad.any()


def test_a_text_needs_an_encoder_and_nothing_else_has_one() -> None:
    with pytest.raises(ValueError, match="a text needs an encoder, such as minilm"):
        Told(kind="text")
    with pytest.raises(ValueError, match="only a text has an encoder"):
        Told(kind="numbers", width=1, encoder="minilm")
    with pytest.raises(ValueError, match="set one of the two, of or column"):
        Told(kind="embedding", of="encoder", column="seen")
