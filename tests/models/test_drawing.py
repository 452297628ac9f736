"""An image comes out the same whatever it is drawn beside, and whoever draws it; and drawing is a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel, Sockets
from unstir.diffusion.prediction import Prediction
from unstir.diffusion.schedule import cosine
from unstir.errors import InputError
from unstir.models.denoiser import DenoiserModel
from unstir.models.drawing import Order
from unstir.models.precision import resolve_precision
from unstir.models.samples import Samples
from unstir.networks.told import Told
from unstir.sampling import SeededNoise, grid
from unstir.sampling.config import samplers

MakeModel = Callable[..., DenoiserModel]
NETWORKS = ("unet", "unet-group-patch", "plain", "fully_connected")
SOME = (pytest.param("unet", marks=pytest.mark.slow), *NETWORKS[1:])


@pytest.mark.parametrize("network", SOME)
@pytest.mark.parametrize("precision", ["auto", pytest.param("float32", marks=pytest.mark.slow)])
def test_an_image_does_not_change_with_its_company(network: str, precision: str, make_model: MakeModel) -> None:
    model = make_model(network, precision)
    labels = [i % 3 for i in range(9)]
    whole = model.sample(9, label=labels, batch=9)
    others = [model.sample(9, label=labels, batch=batch) for batch in (1, 3, 8)]
    few = model.sample(4, label=labels[:4])
    later = model.sample(3, label=labels[2:5], seed=2)
    exact = resolve_precision(precision, torch.device("cpu")) == "bf16"
    for images, part in [*((other, slice(None)) for other in others), (few, slice(4)), (later, slice(2, 5))]:
        if exact:
            assert torch.equal(images.bytes(), whole.bytes()[part])
        else:  # matrix products take another path for one row than for many: the last bits differ
            torch.testing.assert_close(images.tensor, whole.tensor[part], rtol=0, atol=1e-4)
            assert (images.bytes().int() - whole.bytes()[part].int()).abs().max() <= 1
    assert not torch.equal(whole.bytes()[0], whole.bytes()[3])


@pytest.mark.parametrize("network", SOME)
@pytest.mark.parametrize("sampler", ["ddpm", pytest.param("dpm++2m", marks=pytest.mark.slow)])
def test_what_any_process_draws_is_the_sample_bit_for_bit(
    network: str, sampler: str, make_model: MakeModel
) -> None:
    """Process r of n draws the indices r, r + n, ... in batches of any size, with fresh noise or without."""
    model = make_model(network, "bf16", told={"size": Told(kind="numbers", width=2, dropout=0.1)})
    how: dict[str, Any] = {
        "sampler": sampler,
        "label": [2, 0, 1, 1, 2, 0, 0, 1, 2],
        "told": {"size": torch.randn(9, 2, generator=torch.Generator().manual_seed(3))},
        "steps": 4,
        "seed": 11,
    }
    whole = model.sample(9, batch=4, **how)
    for count in (1, 2, 3):
        parts: list[Samples] = []
        for rank in range(count):
            for batch in (2, 5):
                indices = range(9)[rank::count]
                stream = [*model.draw(indices, batch=batch, **how)]
                assert [len(part) for part in stream[:-1]] == [batch] * (len(stream) - 1)
                for part in stream:
                    assert torch.equal(part.tensor, whole.tensor[list(part.numbers)])
                    assert part.labels is not None and whole.labels is not None
                    assert torch.equal(part.labels, whole.labels[list(part.numbers)])
                    assert part.classes == ("a", "b", "c")
                assert [i for part in stream for i in part.numbers] == [*indices]
            parts += stream
        together = Samples.joined(parts)
        assert torch.equal(together.tensor, whole.tensor)
        assert [*together.numbers] == [*range(9)]
    scattered = [*model.draw([7, 1, 4], batch=2, **how)]
    assert torch.equal(torch.cat([part.tensor for part in scattered]), whole.tensor[[7, 1, 4]])
    assert not torch.equal(whole.tensor[0], whole.tensor[5])


def test_rows_of_noise_and_of_what_is_told_are_by_index(make_model: MakeModel) -> None:
    model = make_model("unet", "bf16", told={"size": Told(kind="numbers", width=2, dropout=0.1)})
    noise = torch.randn(6, 1, 9, 12, generator=torch.Generator().manual_seed(5))
    sizes = torch.tensor([[float(i), -i] for i in range(6)])
    how: dict[str, Any] = {"steps": 3, "eta": 0.0, "label": 1}
    whole = model.sample(noise=noise, told={"size": sizes}, batch=4, **how)
    assert len(whole) == 6
    (part,) = model.draw([4, 1], noise=noise, told={"size": sizes}, **how)
    assert torch.equal(part.tensor, whole.tensor[[4, 1]])
    alone = model.sample(noise=noise[4:5], told={"size": sizes[4:5]}, **how)
    assert torch.equal(alone.tensor[0], whole.tensor[4])
    other = model.sample(noise=noise, told={"size": sizes.flip(0)}, **how)
    assert not torch.equal(other.tensor[4], whole.tensor[4])


def test_labels_are_by_index(make_model: MakeModel) -> None:
    model = make_model("unet", "bf16")
    row = ["c", "a", "b", 2, "0"]
    (part,) = model.draw([3, 4, 0], label=row, steps=2)
    assert part.labels is not None and part.labels.tolist() == [2, 0, 2]
    for i, label in zip((3, 4, 0), (2, 0, 2), strict=True):
        alone = model.sample(1, label=label, seed=i, steps=2)
        place = [3, 4, 0].index(i)
        assert torch.equal(part.tensor[place], alone.tensor[0])
    in_turn = [*model.draw([5, 2, 7], steps=2, batch=2)]
    assert [int(label) for part in in_turn for label in part.labels] == [2, 2, 1]  # type: ignore[union-attr]
    with pytest.raises(InputError, match="5 labels were given for 6 images"):
        model.draw([5], label=row)


def test_seeds_are_by_index(make_model: MakeModel) -> None:
    model = make_model("unet", "bf16")
    how: dict[str, Any] = {"label": 1, "steps": 3, "sampler": "ddpm"}
    whole = model.sample(4, seed=[9, 3, 9, 20], **how)
    for i, seed in enumerate((9, 3, 9, 20)):
        assert torch.equal(whole.tensor[i], model.sample(1, seed=seed, **how).tensor[0])
    assert not torch.equal(whole.tensor[0], whole.tensor[1])
    (part,) = model.draw([3, 1], seed=[9, 3, 9, 20], **how)
    assert torch.equal(part.tensor, whole.tensor[[3, 1]])
    with pytest.raises(InputError, match="3 seeds were given for 4 images: give one, or one for each"):
        model.draw(range(4), seed=[1, 2, 3], **how)


def test_no_more_than_a_batch_is_drawn_before_it_is_asked_for(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, begun = make_model(), []
    walk = DenoiserModel.walk

    def counted(self: DenoiserModel, order: Order) -> Iterator[Tensor]:
        begun.append([*order.seeds])
        return walk(self, order)

    monkeypatch.setattr(DenoiserModel, "walk", counted)
    stream = model.draw(range(10), batch=3, steps=2, seed=100)
    assert begun == []
    assert len(next(stream)) == 3
    assert begun == [[100, 101, 102]]
    next(stream)
    assert begun == [[100, 101, 102], [103, 104, 105]]
    assert [len(part) for part in stream] == [3, 1]
    assert begun[-1] == [109]


def test_what_cannot_be_drawn_is_refused_before_the_stream_begins(make_model: MakeModel) -> None:
    model = make_model()
    for wrong in ({"steps": 2000}, {"label": 3}, {"told": {"x": torch.ones(1)}}, {"noise": torch.zeros(1, 2, 2)}):
        with pytest.raises(InputError):
            model.draw(range(3), **wrong)  # without next


def test_what_is_told_reaches_the_network(make_model: MakeModel) -> None:
    told = {
        "size": Told(kind="numbers", width=2, dropout=0.1),
        "sketch": Told(kind="picture", width=1, dropout=0.1),
        "words": Told(kind="embedding", width=5, socket="tokens", dropout=0.1),
    }
    model = make_model("unet", told=told)
    given = {
        "size": torch.tensor([[1.0, -2.0]]),
        "sketch": torch.rand(1, 1, 9, 12, generator=torch.Generator().manual_seed(0)),
        "words": torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(1)),
    }
    how: dict[str, Any] = {"n": 2, "steps": 3, "eta": 0.0, "guidance": 0.0, "clip": "none", "label": 1}
    bare, whole = model.sample(**how).tensor, model.sample(told=given, **how).tensor
    seen = [bare, whole]
    for name, value in given.items():
        alone = model.sample(told={name: value}, **how).tensor
        assert all((alone - other).abs().max() > 1e-3 for other in seen), name
        seen.append(alone)
        shifted = model.sample(told={**given, name: value.roll(1, -1)}, **how).tensor
        assert (shifted - whole).abs().max() > 1e-3, name
        many = {**given, name: value.expand(2, *value.shape[1:])}
        torch.testing.assert_close(model.sample(told=many, **how).tensor, whole)
    # Guidance goes from what a hidden part says to what is told.
    guided = model.sample(told=given, **(how | {"guidance": 2.0})).tensor
    assert (guided - whole).abs().max() > 1e-3


def test_what_the_model_is_not_told_is_refused(make_model: MakeModel) -> None:
    model = make_model(told={"size": Told(kind="numbers", width=2)}, sampling={})
    with pytest.raises(InputError, match=r"told no 'weight' \(beside its label it is told size\)"):
        model.sample(1, told={"weight": torch.ones(1, 2)})
    with pytest.raises(InputError, match="told no 'label'"):
        model.sample(1, told={"label": torch.ones(1)})
    with pytest.raises(InputError, match="it is told nothing"):
        make_model(classes=0).sample(1, told={"size": torch.ones(1, 2)})


# Guides


TARGET = 0.6


class Steered:
    """Moves each prediction against the gradient of ``strength / 2 |x0 - TARGET|^2`` with respect to x."""

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self.asked: list[tuple[Tensor, NoiseLevel, Tensor]] = []

    def __call__(self, denoise: Denoise) -> Denoise:
        def steered(x: Tensor, level: NoiseLevel) -> Prediction:
            with torch.enable_grad():
                given = x.detach().requires_grad_()
                prediction = denoise(given, level)
                potential = (prediction.x0 - TARGET).square().sum() / 2
                (gradient,) = torch.autograd.grad(potential, given)
            self.asked.append((x, level, gradient))
            x0 = prediction.x0.detach() - self.strength * gradient
            alpha, sigma = level.coefficients(x)
            return Prediction(x0, (x - alpha * x0) / sigma, level)

        return steered


@pytest.mark.parametrize("network", ["unet", "plain", "fully_connected"])
def test_gradients_through_the_drawn_images_are_those_of_float32(network: str, make_model: MakeModel) -> None:
    exact, model = make_model(network), make_model(network, "bf16")
    assert torch.equal(next(exact.parameters()), next(model.parameters()))
    guide = Steered(0.0)
    how: dict[str, Any] = {"steps": 4, "eta": 0.0, "guidance": 0.5, "label": 1}
    # A strength of 0 steers nowhere; with gradients networks round in other places.
    torch.testing.assert_close(
        exact.sample(3, guide=Steered(0.0), **how).tensor, exact.sample(3, **how).tensor, rtol=0, atol=1e-4
    )
    plain = model.sample(3, **how).tensor
    guided = model.sample(3, guide=guide, **how).tensor
    assert (guided - plain).abs().mean() < 0.02
    assert len(guide.asked) == 4
    condition = exact.condition({"label": [1, 1, 1]})
    assert condition is not None
    for x, level, gradient in guide.asked:
        assert gradient.dtype == torch.float32
        given = x.clone().requires_grad_()
        told, hidden = (exact.denoiser(given, level, each).x0 for each in (condition, condition.hide()))
        potential = (told + 0.5 * (told - hidden) - TARGET).square().sum() / 2
        (expected,) = torch.autograd.grad(potential, given)
        assert expected.norm() > 0
        assert (gradient - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("precision", [pytest.param("bf16", marks=pytest.mark.slow), "float32"])
def test_a_guide_steers_what_is_drawn(precision: str, make_model: MakeModel) -> None:
    model = make_model("unet", precision)
    how: dict[str, Any] = {"steps": 8, "eta": 0.0, "guidance": 0.0, "label": 0, "batch": 4}
    means = [
        float(model.sample(8, guide=Steered(strength), **how).tensor.mean()) for strength in (0.0, 0.3, 1.0, -0.3)
    ]
    away = [abs(mean - TARGET) for mean in means]
    assert away[2] < away[1] < away[0] < away[3]
    assert away[2] < 0.8 * away[0]
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()


def test_a_guide_is_asked_for_the_images_of_its_batch(make_model: MakeModel) -> None:
    guide = Steered(0.5)
    model = make_model("unet", "bf16")
    whole = model.sample(5, guide=guide, batch=5, steps=2, eta=0.0)
    assert [len(x) for x, _, _ in guide.asked] == [5, 5]
    (part,) = model.draw([1, 3], guide=Steered(0.5), steps=2, eta=0.0)
    torch.testing.assert_close(part.tensor, whole.tensor[[1, 3]], rtol=0, atol=0.02)


# What is asked for


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shape", [(3, 28, 28), (4, 20, 36), (7, 97, 61)], ids=str)
def test_any_channels_and_size_are_drawn(network: str, shape: tuple[int, int, int], make_model: MakeModel) -> None:
    """Two steps of DDIM by hand, from the network's v on the schedule cosine at t = 1 and 1/2."""
    exact = make_model(network, "float32", shape, classes=0)
    levels = [exact.schedule(1.0), exact.schedule(0.5)]
    x = SeededNoise([5, 6])(torch.empty(2, *shape))
    for here, there in zip(levels, [levels[1], None], strict=True):
        alpha, sigma = float(here.alpha), float(here.sigma)
        with torch.no_grad():
            v = exact.denoiser.network(x, here.t.float().expand(2))
        x0 = (alpha * x - sigma * v).clamp(-1, 1)
        eps = (x - alpha * x0) / sigma
        x = x0 if there is None else float(there.alpha) * x0 + float(there.sigma) * eps
    how: dict[str, Any] = {"steps": 2, "seed": 5, "eta": 0.0}
    drawn = exact.sample(2, **how).tensor
    assert drawn.shape == (2, *shape)
    torch.testing.assert_close(drawn, x, rtol=0, atol=1e-3)
    assert (x[0] - x[1]).abs().mean() > 0.1
    fast = make_model(network, "auto", shape, classes=0).sample(2, **how).tensor
    assert (fast - x).abs().mean() < 0.05


def test_samples_without_bounds_are_not_clipped(make_model: MakeModel) -> None:
    values: dict[str, Any] = {"steps": 3, "clip": "none"}
    bounded = make_model("unet").sample(4, **values).tensor
    free = make_model("unet", samples={"bounded": False}).sample(4, **values).tensor
    assert free.abs().max() > 1
    torch.testing.assert_close(free.clamp(-1, 1), bounded)


def test_a_model_of_a_gpu_in_fp16_is_drawn_on_a_cpu(make_model: MakeModel) -> None:
    as_auto = make_model("unet", "auto").sample(3, steps=3)
    assert torch.equal(make_model("unet", "fp16").sample(3, steps=3).tensor, as_auto.tensor)
    assert (as_auto.tensor - make_model("unet", "float32").sample(3, steps=3).tensor).abs().mean() < 0.05


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 2000}, "2000 steps were asked for, and the model's schedule has 1000"),
        ({"eta": 1.5}, "eta of sampling cannot be 1.5"),
        ({"stepz": 5}, "did you mean 'steps'"),
        ({"label": 3}, "out of range"),
        ({"label": "x"}, "No label is called 'x'"),
        ({"label": [1, 2]}, "2 labels were given for 4 images"),
        ({"n": 0}, "at least 1"),
        ({"variance": "large"}, "variance of sampling belongs to the sampler ddpm"),
        ({"sampler": "plms", "churn": 3}, "churn of sampling belongs to the sampler euler or heun"),
        ({"sampler": "plms", "eta": 0.5}, "eta of sampling belongs to the sampler ddim"),
        ({"sampler": "heun", "churn_min": 3, "churn_max": 2}, "churn_min, 3, lies above churn_max, 2"),
        ({"sampler": "unipc", "order": 4}, "order of sampling cannot be 4"),
        ({"schedule": "linear", "steps": 1001}, "the linear schedule has 1000"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options: dict[str, Any], words: str, make_model: MakeModel) -> None:
    with pytest.raises(InputError, match=words):
        make_model(precision="auto").sample(**{"n": 4, **options})


def test_guidance_asked_of_an_unconditional_model_is_refused(make_model: MakeModel) -> None:
    model = make_model(precision="auto", classes=0)
    with pytest.raises(InputError, match="Guidance needs a model that was trained with labels"):
        model.sample(1, guidance=2.0)
    with pytest.raises(InputError, match="without labels"):
        model.sample(1, label=0)


def test_a_model_whose_labels_were_never_hidden_is_asked_with_them_alone(make_model: MakeModel) -> None:
    model = make_model(precision="auto", told={"label": Told(kind="classes", dropout=0.0)})
    with pytest.raises(InputError, match=r"Guidance above 0 needs told\.label\.dropout above 0"):
        model.sample(1)
    assert model.sample(1, steps=2, guidance=0.0).tensor.isfinite().all()


def test_without_a_label_the_classes_come_in_turn(make_model: MakeModel) -> None:
    images = make_model(precision="auto").sample(7, steps=2)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_seed_makes_its_image_whatever_its_place(make_model: MakeModel) -> None:
    model = make_model(precision="auto", classes=0)
    assert torch.equal(model.sample(4, seed=10).bytes()[3], model.sample(1, seed=13).bytes()[0])


class Exact(torch.nn.Module):
    """The exact denoiser of pixels of N(0.2, 0.3^2) on the schedule cosine, as a network that tells v."""

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
        level = cosine()(t)
        alpha, sigma = level.coefficients(x)
        x0 = (alpha * 0.09 * x + sigma**2 * 0.2) / (alpha**2 * 0.09 + sigma**2)
        return Prediction.from_x0(x0, x, level).v


@pytest.mark.parametrize("sampler", samplers.known)
@pytest.mark.parametrize("schedule", [None, "flow", "ve"])
def test_every_sampler_draws_the_data_on_any_schedule(
    sampler: str, schedule: str | None, make_model: MakeModel
) -> None:
    model = make_model(classes=0)
    model.denoiser.network, model.denoiser.anchor = Exact(), torch.nn.Parameter(torch.zeros(()))
    few, many = (
        model.sample(30, steps=steps, sampler=sampler, schedule=schedule, clip="none", spacing="log_snr").tensor
        for steps in (4, 100)
    )
    assert many.mean().item() == pytest.approx(0.2, abs=0.03)
    assert many.std().item() == pytest.approx(0.3, rel=0.1)
    assert (few - many).abs().mean() > 1e-3


def test_sampling_on_the_trained_schedule_by_name_changes_nothing(make_model: MakeModel) -> None:
    model = make_model()
    assert model.config.diffusion.schedule.name == "cosine"
    again = model.sample(3, schedule="cosine")
    torch.testing.assert_close(again.tensor, model.sample(3).tensor, rtol=0, atol=1e-4)


def test_few_evaluations_are_made_the_best_of(make_model: MakeModel) -> None:
    model = make_model(sampling={"steps": 10, "sampler": "heun", "spacing": "leading"})
    assert model.config.drawing(model.quick(19)) == model.config.sampling
    few = model.config.drawing(model.quick(6))
    assert (few.sampler.name, few.steps, few.spacing, few.evaluations) == ("ddim", 6, "trailing", 6)
    assert model.config.drawing(model.quick(18)).steps == 10


def test_guidance_strengthens_what_the_model_was_trained_without(make_model: MakeModel) -> None:
    told = {
        "size": Told(kind="numbers", width=1, dropout=0.1),
        "sketch": Told(kind="picture", width=1),  # never hidden
    }
    model = make_model(told=told, classes=0)
    given = {
        "size": torch.tensor([[1.5]]),
        "sketch": torch.rand(1, 1, 9, 12, generator=torch.Generator().manual_seed(0)),
    }
    how: dict[str, Any] = {"n": 1, "steps": 1, "eta": 0.0, "clip": "none", "told": given}
    guided, plain = (model.sample(guidance=w, **how).tensor for w in (2.0, 0.0))
    condition = model.condition(given)
    assert condition is not None
    noise = SeededNoise([0])(plain)
    level = grid(model.schedule, 1, "trailing")[0]
    x = noise * float((level.alpha**2 + level.sigma**2).sqrt())
    with torch.no_grad():
        whole, free = (model.denoiser(x, level, c).x0 for c in (condition, condition.hide(["size"])))
    torch.testing.assert_close(plain, whole.clamp(-1, 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(guided, (3 * whole - 2 * free).clamp(-1, 1), rtol=1e-4, atol=1e-5)
    assert (free - whole).abs().max() > 1e-3


def test_what_a_model_never_was_without_cannot_be_left_out(make_model: MakeModel) -> None:
    model = make_model(told={"size": Told(kind="numbers", width=1)}, classes=0)
    with pytest.raises(InputError, match=r"needs told\.size\.dropout above 0"):
        model.sample(1)
    assert model.sample(1, told={"size": torch.ones(1, 1)}).tensor.isfinite().all()


def test_numbers_of_rows_and_labels_must_fit(make_model: MakeModel) -> None:
    model = make_model()
    shape = model.config.samples.shape
    with pytest.raises(InputError, match="Noise was given for 2 images, and 3 are to be drawn"):
        model.draw(range(3), noise=torch.zeros(2, *shape))
    with pytest.raises(InputError, match="5 labels were given for 4 images"):
        model.sample(4, label=[0, 1, 0, 1, 0])
    with pytest.raises(InputError, match="At least 1 image"):
        model.draw(range(3), batch=0)
    with pytest.raises(InputError, match="it takes no sampler"):
        model.invert(torch.zeros(1, *shape), sampler="unipc")
