"""Bits of held-out images, measured on a model that is right about them."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unstir.data.dataset import ImageData
from unstir.diffusion import Denoiser, Schedule, Sockets
from unstir.diffusion.parameterization import parameterization
from unstir.diffusion.schedule import flow, ladder, linear
from unstir.evaluation.bits import measure_bits
from unstir.models.denoiser import DenoiserModel
from unstir.models.systems import DenoiserConfig
from unstir.networks.told import Told

MEAN, DEVIATION = -0.1, 0.25
TRUE_BITS = math.log2(127.5) + 0.5 * math.log2(2 * math.pi * math.e * DEVIATION**2)
LARGE = {"variance": "large", "clip": "none", "progress": False}
CLASSES = ("a", "b", "c")
FACTS = {"label": {"kind": "classes", "classes": CLASSES}}


@pytest.fixture(scope="module")
def noise() -> ImageData:
    """Images whose pixels are N(MEAN, DEVIATION^2), rounded to 8 bits: four deviations fit."""
    random = np.random.default_rng(0)
    values = MEAN + DEVIATION * random.standard_normal((400, 1, 6, 6))
    pixels = ((values + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return ImageData.from_array(pixels, np.arange(400) % 3, CLASSES)


class Gaussian(nn.Module):
    """Tells the exact noise of such images, and keeps what it was told of each."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule, self.unused = schedule, nn.Parameter(torch.zeros(1))
        self.told: list[Tensor | None] = []

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
        self.told.append(sockets.vector)
        alpha, sigma = self.schedule(t).coefficients(x)
        return sigma * (x - alpha * MEAN) / (sigma**2 + (alpha * DEVIATION) ** 2)


def gaussian_model(schedule: Schedule, labels: bool = False) -> tuple[DenoiserModel, Gaussian]:
    told = {"label": Told(kind="classes", classes=CLASSES)} if labels else {}
    model = DenoiserModel(DenoiserConfig(told=told, precision="float32").seeing((1, 6, 6), FACTS), {}).eval()
    network = Gaussian(schedule)
    parameterized = parameterization("eps", schedule)
    model.denoiser = Denoiser(network, parameterized, schedule, model.denoiser.conditioner)
    return model, network


def test_the_right_model_needs_the_entropy(noise: ImageData) -> None:
    model, network = gaussian_model(linear(300, 3e-4, 0.06))
    found = measure_bits(model, noise, ["bpd", "bpd_ode"], n=100, terms=300, **LARGE)
    assert found["bpd_ode"] == pytest.approx(TRUE_BITS, abs=3 * found["bpd_ode_standard_error"] + 0.01)
    assert found["bpd"] == pytest.approx(TRUE_BITS + 0.04, abs=3 * found["bpd_standard_error"] + 0.04)
    assert found["bpd_standard_error"] < 0.03
    assert (found["bpd_terms"], found["bpd_images"]) == (299, 100)
    assert set(network.told) == {None}


def test_the_standard_error_shrinks_with_more_images(noise: ImageData) -> None:
    model, _ = gaussian_model(linear(50, 1e-3, 0.3))
    few, many = (measure_bits(model, noise, ["bpd"], n=n, **LARGE) for n in (25, 9999))
    assert few["bpd_standard_error"] / many["bpd_standard_error"] == pytest.approx(4, rel=0.4)
    assert many["bpd_images"] == 400


def test_an_images_bits_do_not_depend_on_the_batch(noise: ImageData) -> None:
    model, _ = gaussian_model(linear(50, 1e-3, 0.3))
    whole, parts = (
        measure_bits(model, noise, ["bpd", "bpd_ode"], n=20, steps=9, terms=4, batch=batch, **LARGE)
        for batch in (20, 7)
    )
    assert whole.keys() == parts.keys()
    for key, value in whole.items():
        assert value == (pytest.approx(parts[key], rel=1e-5) if isinstance(value, float) else parts[key]), key


def test_continuous_time_is_cut_even_in_log_snr(noise: ImageData) -> None:
    model, _ = gaussian_model(flow())
    found = measure_bits(model, noise, ["bpd"], n=10, steps=40, terms=100, **LARGE)
    assert (found["bpd_levels"], found["bpd_terms"]) == (40, 39)


@pytest.mark.parametrize(
    ("schedule", "asked", "variance"),
    [
        (linear(20, 1e-2, 0.5), None, "small"),
        (ladder(20), None, "large"),
        (flow(), None, "large"),
        (flow(), "small", "small"),
    ],
)
def test_the_variance_goes_by_the_schedule_unless_it_is_asked_for(
    schedule: Schedule, asked: str | None, variance: str, noise: ImageData
) -> None:
    model, _ = gaussian_model(schedule)
    free, told = (
        measure_bits(model, noise, ["bpd"], n=5, steps=9, variance=v, progress=False) for v in (asked, variance)
    )
    assert free == told and free["bpd_variance"] == variance


def test_a_model_with_labels_is_told_the_images_own(noise: ImageData) -> None:
    model, network = gaussian_model(linear(10, 1e-2, 0.5), labels=True)
    measure_bits(model, noise, ["bpd"], n=400, batch=250, terms=1, **LARGE)
    told = torch.cat([network.told[0], network.told[2]])  # of each batch, the first of its two terms
    expected = model.denoiser.conditioner.encoders["label"].table(torch.from_numpy(noise.labels))
    assert torch.equal(told, expected)


def test_clipping_belongs_to_the_model_of_the_bound(noise: ImageData) -> None:
    schedule = linear(50, 1e-3, 0.3)
    model, _ = gaussian_model(schedule)
    model.denoiser.network.register_forward_hook(lambda network, args, output: output - 1.0)  # far too bright
    clipped, plain = (
        measure_bits(model, noise, ["bpd"], n=20, **{**LARGE, "clip": clip})["bpd"] for clip in ("static", "none")
    )
    assert clipped < 0.8 * plain
