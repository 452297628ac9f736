from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unstir.errors import InputError
from unstir.models.config import FrozenPart
from unstir.models.diffae import DiffusionAutoencoder
from unstir.models.diffae_config import DiffusionAutoencoderConfig, LinearReaderConfig
from unstir.models.linear_reader import LinearReader
from unstir.models.model import Batch
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


def seen(reader: LinearReader, count: int = 60) -> Tensor:
    """Let the reader see codes that hang together, in batches, and return them."""
    generator = torch.Generator().manual_seed(5)
    codes = torch.randn(count, 16, generator=generator) @ torch.randn(16, 16, generator=generator) + 1
    for batch in codes.split(20):
        reader.train().losses("main", Batch(z=batch[..., None, None], label=torch.zeros(20).long()), reader)
    reader.eval()
    return codes


@pytest.mark.parametrize("by", [0.3, -1.0])
def test_a_step_moves_the_lead_by_its_sign_and_amount(reader: LinearReader, by: float) -> None:
    """How far a class leads the mean of the others grows by s sqrt(L) of its deviations over what was seen."""
    codes = seen(reader)
    torch.testing.assert_close(reader.covariance, torch.cov(codes.T, correction=0), rtol=1e-3, atol=1e-3)
    for k in range(3):
        others = [j for j in range(3) if j != k]

        def lead(z: Tensor, k: int = k, others: list[int] = others) -> Tensor:
            logits = reader.logits(z).detach()
            return logits[:, k] - logits[:, others].mean(1)

        step = reader.towards(k, by)
        assert step.shape == (16, 1, 1)
        deviation = float(lead(codes).std(correction=0))
        gained = lead(codes + step.flatten()) - lead(codes)
        torch.testing.assert_close(gained, torch.full((60,), by * 4 * deviation), rtol=1e-3, atol=1e-3)
        # The way that codes go with the lead: by what each number tells of it alone.
        slopes = ((codes - codes.mean(0)) * (lead(codes) - lead(codes).mean())[:, None]).mean(0) / deviation
        torch.testing.assert_close(step.flatten(), by * 4 * slopes, rtol=1e-3, atol=1e-3)
    assert torch.equal(reader.towards("two", by), reader.towards(2, by))
    assert torch.equal(reader.towards("1", by), reader.towards(1, by))


def test_of_codes_that_hang_not_together_the_step_is_along_the_weights(reader: LinearReader) -> None:
    weights = reader.head.weight.detach()
    lead = weights[1] - (weights[0] + weights[2]) / 2
    torch.testing.assert_close(reader.towards(1, 0.3).flatten(), 0.3 * 4 * lead / lead.norm())


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
