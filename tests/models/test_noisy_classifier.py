"""The classifier of noised images: what it learns, where its gradient leads, and what it may guide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from unstir.config import checked
from unstir.diffusion import NoiseLevel, Prediction
from unstir.diffusion.config import ScheduleConfig
from unstir.diffusion.schedule import cosine, ve
from unstir.errors import InputError
from unstir.models.config import systems
from unstir.models.denoiser import DenoiserModel
from unstir.models.noisy_classifier import NoisyClassifier
from unstir.models.systems import ClassifierConfig, DenoiserConfig, GANConfig, NoisyClassifierConfig
from unstir.networks.config import ADMReaderConfig

SHAPE = (1, 9, 12)
SMALL = ADMReaderConfig(channels=16, multipliers=(1, 2), blocks=1, attention=(False, True), features=32)
MakeModel = Callable[..., DenoiserModel]


def config(classes: str = "abc", shape: tuple[int, ...] = SHAPE, **values: Any) -> NoisyClassifierConfig:
    facts = {"label": {"kind": "classes", "classes": tuple(classes)}}
    return NoisyClassifierConfig(network=SMALL, **values).seeing(shape, facts)


def made(**values: Any) -> NoisyClassifier:
    """An untrained classifier, the same each time: what starts at zero is random, and it is sure of its words."""
    torch.manual_seed(1)
    model = config(**values).build({}).eval().requires_grad_(False)
    for parameter in model.parameters():
        if not parameter.any():
            parameter.normal_(std=0.1)
    assert isinstance(model, NoisyClassifier)
    model.head.weight.mul_(30)
    return model


def images(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def plain(x: Tensor, level: NoiseLevel) -> Prediction:
    return Prediction.from_x0(0.3 * x, x, level)


def test_the_loss_is_the_cross_entropy_of_what_it_reads_at_each_level() -> None:
    model, x0, label = made(), images(8).clamp(-1, 1), torch.arange(8) % 3
    batch = model.prepare((x0, {"label": label}), torch.Generator().manual_seed(0))
    level = batch["level"]
    assert len(set(level.t.tolist())) == 8 and float(level.t.max()) > 0.8
    eps = (batch["x"] - level.coefficients(x0)[0] * x0) / level.coefficients(x0)[1]
    assert 0.8 < float(eps.std()) < 1.2
    found = model.losses("main", batch, model)
    read = model.classify(batch["x"], level)
    torch.testing.assert_close(found["loss"].double(), -read[torch.arange(8), label].log(), rtol=1e-4, atol=1e-5)
    assert torch.equal(found["error"], (read.argmax(1) != label).float())
    torch.testing.assert_close(read.sum(1), torch.ones(8).double())


def test_it_is_told_the_time() -> None:
    model, x, schedule = made(), images(4), cosine()
    early, late = (model.classify(x, schedule.level(n)) for n in (10, 900))
    assert (early - late).abs().max() > 1e-3


def test_its_network_sees_images_of_unit_size_where_noise_explodes() -> None:
    model, seen = made(schedule={"name": "ve"}), []
    model.network.register_forward_pre_hook(lambda network, given: seen.append(given[0]))
    schedule = ve()
    for t in (0.3, 0.6, 1.0):
        level = schedule(t)
        model.classify(level.noise(images(4).clamp(-1, 1), images(4, seed=1)), level)
    assert float(schedule(1.0).sigma) > 10
    assert all(0.5 < float(x.std()) < 1.3 for x in seen)


def test_images_of_another_schedule_are_read_as_its_own() -> None:
    model, x = made(), images(4)
    known = cosine().level(400)
    ratio = float(known.sigma / known.alpha)
    same = NoiseLevel(0.0, 1.0, ratio)  # of a process that keeps the image as it is
    read = model.classify(x, known)
    torch.testing.assert_close(model.classify(x / known.alpha.float(), same), read, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model.classify(x / known.alpha.float(), ratio), read, rtol=1e-4, atol=1e-6)
    other = ve()(ve().time(known.log_snr))
    torch.testing.assert_close(model.classify(x / known.alpha.float(), other), read, rtol=1e-4, atol=1e-6)
    assert model.classify(x).isfinite().all()
    with pytest.raises(InputError, match="at least 0, not -1"):
        model.classify(x, -1)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_its_drift_is_the_gradient_of_its_log_probability(precision: str) -> None:
    model, x, label = made(), images(3), torch.tensor([2, 0, 1])
    level = cosine().level(500)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        drift = model.guide(label, 2.0)(plain)(x, level).drift
    assert drift is not None and drift.dtype == torch.float32 and drift.flatten(1).norm(dim=1).min() > 1e-4
    h, rows = 1e-2, torch.arange(3)
    for seed in range(3):
        way = images(3, seed + 5)
        up, down = (model.log_probabilities(x + s * way, level)[rows, label] for s in (h, -h))
        along = (drift * way).flatten(1).sum(1)
        torch.testing.assert_close(along, (up - down) / h, rtol=0.05, atol=5e-3 * float(along.abs().max()))
    for i in range(3):
        alone = model.guide(label[i : i + 1], 2.0)(plain)(x[i : i + 1], level).drift
        torch.testing.assert_close(drift[i : i + 1], alone, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(model.guide("c")(plain)(x, level).drift[:1], drift[:1] / 2, rtol=1e-3, atol=1e-5)


def test_it_learns_where_the_noise_lets_it() -> None:
    # Bright and dark images are told apart at once in little noise, and not at all where nothing else is left.
    torch.manual_seed(0)
    model = config("ab").build({}).train()
    assert isinstance(model, NoisyClassifier)
    generator, optimizer = torch.Generator().manual_seed(0), torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(40):
        label = torch.randint(0, 2, (16,), generator=generator)
        x0 = (label.float() - 0.5).reshape(-1, 1, 1, 1) + 0 * images(16)
        batch = model.prepare((x0, {"label": label}), generator)
        optimizer.zero_grad()
        model.losses("main", batch, model)["loss"].mean().backward()
        optimizer.step()
    model.eval().requires_grad_(False)
    label = torch.arange(64) % 2
    x0 = (label.float() - 0.5).reshape(-1, 1, 1, 1).expand(64, *SHAPE)
    losses = []
    for n in (100, 1000):
        level = cosine().level(n)
        losses.append(
            float(functional.nll_loss(model.classify(level.noise(x0, images(64, 9)), level).log(), label))
        )
    assert losses[0] < 0.2 and losses[1] > 0.5
    # Guided by it from anywhere, a model that has nothing to say draws what was asked for.
    drift = model.guide(label)(plain)(images(64), cosine().level(300)).drift
    assert drift is not None
    assert torch.equal(drift.flatten(1).mean(1) > 0, label == 1)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_drawing_is_guided_to_the_labels_that_samples_keep(
    classes: int, sampler: str, make_model: MakeModel
) -> None:
    model, classifier = make_model(classes=classes), made()
    how: dict[str, Any] = {"steps": 8, "sampler": sampler, "clip": "none"}
    drawn = {scale: model.sample(6, classifier=classifier, scale=scale, **how) for scale in (0.0, 12.0)}
    torch.testing.assert_close(drawn[0.0].tensor, model.sample(6, **how).tensor, rtol=1e-4, atol=1e-4)
    assert drawn[12.0].labels is not None and drawn[12.0].labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert drawn[12.0].classes == ("a", "b", "c")
    right = [
        classifier.classify(one.tensor)[torch.arange(6), torch.arange(6) % 3].log().mean()
        for one in drawn.values()
    ]
    assert right[1] > right[0] + 0.01
    part = next(iter(model.draw([4], classifier=classifier, scale=12.0, **how)))
    assert part.labels is not None and part.labels.tolist() == [1]
    torch.testing.assert_close(part.tensor, drawn[12.0].tensor[4:5], rtol=1e-3, atol=1e-3)
    one = model.sample(2, classifier=classifier, label="c", **how)
    torch.testing.assert_close(
        one.tensor, model.sample(2, classifier=classifier, label=2, scale=1.0, **how).tensor
    )


def test_another_guide_comes_before(make_model: MakeModel) -> None:
    model, classifier, seen = make_model(classes=0), made(), []

    def guide(denoise: Any) -> Any:
        def guided(x: Tensor, level: NoiseLevel) -> Prediction:
            prediction = denoise(x, level)
            seen.append(prediction.drift)
            return prediction.with_x0(0 * prediction.x0, x)

        return guided

    drawn = model.sample(3, guide=guide, classifier=classifier, steps=3, sampler="ddpm", clip="none")
    assert seen == [None] * 3
    assert torch.equal(drawn.tensor, torch.zeros_like(drawn.tensor))  # the last step takes the image alone


def model_config(**values: Any) -> DenoiserConfig:
    return DenoiserConfig.model_validate(
        {"network": {"kind": "fully_connected"}, "samples": {"shape": SHAPE}, **values}
    )


@pytest.mark.parametrize(
    ("classifier", "model", "said"),
    [
        (config(shape=(1, 8, 8)), model_config(), "reads images of 1x8x8, and the model draws them of 1x9x12"),
        (
            config("abd"),
            model_config(told={"label": {"kind": "classes", "classes": tuple("abc")}}),
            "of another data set: its classes",
        ),
        (
            config(),
            model_config(diffusion={"schedule": {"name": "linear"}}),
            r"another schedule \(cosine\) than the model \(linear\)",
        ),
        (
            config(),
            model_config(diffusion={"schedule": {"name": "cosine", "steps": 500}}),
            r"\(cosine, steps 500\)",
        ),
        (
            config(),
            model_config(diffusion={"schedule": {"name": "single"}}),
            "cannot predict",
        ),
        (ClassifierConfig(), model_config(), "has seen clean images alone.*mnist-classifier"),
        (model_config(), model_config(), "a diffusion model and cannot guide"),
        (config(), GANConfig(), "takes no classifier"),
    ],
)
def test_what_cannot_guide_is_refused(classifier: Any, model: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        model.drawing({}, classifier=classifier)


def test_what_fits_may_guide() -> None:
    for schedule in ({"name": "cosine"}, {"name": "cosine", "steps": 1000}):
        model_config(diffusion={"schedule": schedule}).drawing({}, classifier=config())


@pytest.mark.parametrize("schedule", [{"name": "single"}, {"name": "linear", "learned": True}])
def test_it_needs_levels(schedule: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="schedule of many levels that is not learned"):
        checked(systems["noisy_classifier"], {"schedule": ScheduleConfig(**schedule).model_dump()})


def test_wrong_values_of_guidance_are_refused(make_model: MakeModel) -> None:
    model, classifier = make_model(), made()
    for arguments, said in (
        ({"scale": 2.0}, "A scale of 2 is how much a classifier guides, and none is given"),
        ({"scale": -1.0, "classifier": classifier}, "from 0 to 1000, and this is -1"),
        ({"label": "d", "classifier": classifier}, "No label is called 'd'"),
        ({"label": 3, "classifier": classifier}, "Label 3 is out of range"),
        ({"guidance_max": 1.0, "guidance": 0.0}, "guidance_max of sampling is for guidance, which is off"),
        (
            {"guidance_min": 2.0, "guidance_max": 1.0, "guidance": 1.0},
            "guidance_min, 2, lies above guidance_max, 1",
        ),
    ):
        with pytest.raises(InputError, match=said):
            model.sample(2, **arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="knows 3 classes"):
        classifier.guide(torch.tensor([0, 3]))
