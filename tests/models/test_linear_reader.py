from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unstir.errors import InputError
from unstir.models.config import FrozenPart
from unstir.models.diffae import DiffusionAutoencoder
from unstir.models.diffae_config import DiffusionAutoencoderConfig, LinearReaderConfig
from unstir.models.linear_reader import LinearReader
from unstir.models.systems import ClassifierConfig, VAEConfig

SHAPE = (1, 8, 8)
FACTS = {"label": {"kind": "classes", "classes": ("zero", "one", "two")}}


@pytest.fixture(scope="module")
def codec() -> DiffusionAutoencoder:
    torch.manual_seed(0)
    config = DiffusionAutoencoderConfig.model_validate({"precision": "float32"}).tiny().seeing(SHAPE, {})
    model = config.build({})
    model.standard.observe(model.encoder(pictures(64))[:, :, None, None])  # type: ignore[operator, union-attr]
    return model.eval().requires_grad_(False)  # type: ignore[return-value]


def pictures(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture
def reader(codec: DiffusionAutoencoder) -> LinearReader:
    torch.manual_seed(1)
    parts = {"codec": FrozenPart(path="x", model=codec.config)}
    return LinearReaderConfig(parts=parts).seeing(SHAPE, FACTS).build({"codec": codec})  # type: ignore[return-value]


def test_logits_are_linear_in_the_codes(reader: LinearReader, codec: DiffusionAutoencoder) -> None:
    x = pictures(5, seed=2)
    codes = codec.encode(x).flatten(1)
    logits = codes @ reader.head.weight.T + reader.head.bias
    torch.testing.assert_close(reader.classify(x), logits.double().softmax(1).detach(), rtol=1e-4, atol=1e-6)
    label = torch.tensor([0, 1, 2, 1, 0])
    batch = reader.prepare((codec.moments(x), {"label": label}), torch.Generator())  # as training keeps images
    losses = reader.losses("main", batch, reader)
    by_hand = logits.logsumexp(1) - logits.gather(1, label[:, None])[:, 0]
    torch.testing.assert_close(losses["loss"], by_hand, rtol=1e-4, atol=1e-5)
    assert losses["error"].tolist() == [float(a != b) for a, b in zip(logits.argmax(1), label, strict=True)]
    assert [name for name, _ in reader.named_parameters()] == ["head.weight", "head.bias"]  # the codec is frozen


@pytest.mark.parametrize("by", [0.3, -1.0])
def test_a_step_moves_the_logit_by_its_sign_and_amount(reader: LinearReader, by: float) -> None:
    """The margin of a class on the mean of the others grows by s sqrt(L) |d|."""
    codes = torch.randn(4, 16, 1, 1, generator=torch.Generator().manual_seed(3))
    for k in range(3):
        step = reader.towards(k, by)
        assert step.shape == (16, 1, 1)
        assert float(step.square().mean().sqrt()) == pytest.approx(abs(by), rel=1e-4)
        others = [j for j in range(3) if j != k]

        def margin(z: Tensor, k: int = k, others: list[int] = others) -> Tensor:
            logits = reader.logits(z).detach()
            return logits[:, k] - logits[:, others].mean(1)

        weights = reader.head.weight.detach().double()
        length = float((weights[k] - weights[others].mean(0)).norm())
        gained = margin(codes + step) - margin(codes)
        torch.testing.assert_close(gained, torch.full((4,), by * math.sqrt(16) * length), rtol=1e-3, atol=1e-4)
    assert torch.equal(reader.towards("two", by), reader.towards(2, by))
    assert torch.equal(reader.towards("1", by), reader.towards(1, by))


def test_wrong_input_is_told(reader: LinearReader) -> None:
    with pytest.raises(InputError, match="No class is called 'twoo'; did you mean 'two'"):
        reader.towards("twoo", 0.3)
    with pytest.raises(InputError, match="Class 3 is out of range: the model knows 3 classes, 0 to 2"):
        reader.towards(3, 0.3)
    with pytest.raises(InputError, match="samples are 1x8x8, and these are 1x9x8"):
        reader.classify(torch.zeros(1, 1, 9, 8))


def test_its_codec_is_one_of_such_images(codec: DiffusionAutoencoder) -> None:
    def seeing(model: object, shape: tuple[int, ...] = SHAPE, facts: dict[str, dict[str, object]] = FACTS) -> None:
        LinearReaderConfig(parts={"codec": FrozenPart(path="x", model=model)}).seeing(shape, facts)

    assert LinearReaderConfig().needs == ("codec",)
    with pytest.raises(InputError, match="a classifier of clean images, which cannot encode them"):
        seeing(ClassifierConfig().seeing(SHAPE, FACTS))
    with pytest.raises(InputError, match="images of 1x9x9, and it takes those of 1x8x8"):
        seeing(codec.config, (1, 9, 9))
    with pytest.raises(InputError, match="a variational autoencoder, whose codes"):
        seeing(VAEConfig().seeing(SHAPE, {}))
    with pytest.raises(InputError, match="needs images of two classes or more, and these have 0"):
        seeing(codec.config, facts={})
