"""Bits of held-out images, measured on a model that is right about them."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unstir.data.dataset import ImageData
from unstir.diffusion import Condition, Denoiser, Schedule
from unstir.diffusion.parameterization import parameterization
from unstir.diffusion.schedule import flow, ladder, linear
from unstir.evaluation.likelihood import measure_bits
from unstir.training.config import Config, ImagesInfo
from unstir.training.run import Run

MEAN, DEVIATION = -0.1, 0.25
TRUE_BITS = math.log2(127.5) + 0.5 * math.log2(2 * math.pi * math.e * DEVIATION**2)
LARGE = {"variance": "large", "clip": "none", "progress": False}
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def noise() -> ImageData:
    """Images whose pixels are N(MEAN, DEVIATION^2), rounded to 8 bits: four deviations fit."""
    random = np.random.default_rng(0)
    values = MEAN + DEVIATION * random.standard_normal((400, 1, 6, 6))
    pixels = ((values + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return ImageData.from_array(pixels, np.arange(400) % 3, CLASSES)


class Gaussian(nn.Module):
    """Tells the exact noise of such images, and keeps the labels it was told."""

    def __init__(self, schedule) -> None:
        super().__init__()
        self.schedule, self.unused = schedule, nn.Parameter(torch.zeros(1))
        self.told: list[Tensor | None] = []

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        self.told.append(None if condition is None else condition.vector)
        alpha, sigma = self.schedule(t).coefficients(x)
        return sigma * (x - alpha * MEAN) / (sigma**2 + (alpha * DEVIATION) ** 2)


def gaussian_run(schedule, conditional: bool = False) -> tuple[Run, Gaussian]:
    values = {"recipe": "x", "data": {"source": "digits"}, "conditional": conditional}
    info = ImagesInfo(shape=(1, 6, 6), classes=CLASSES, fingerprint="x")
    config = Config.model_validate({**values, "training": {"images": 1, "precision": "float32"}, "images": info})
    network = Gaussian(schedule)
    return Run(config, Denoiser(network, parameterization("eps", schedule), schedule)), network


def test_the_right_model_needs_the_entropy(noise: ImageData) -> None:
    run, network = gaussian_run(linear(300, 3e-4, 0.06))
    found = measure_bits(run, noise, ["bpd", "bpd_ode"], n=100, terms=300, **LARGE)
    assert found["bpd_ode"] == pytest.approx(TRUE_BITS, abs=3 * found["bpd_ode_standard_error"] + 0.01)
    assert found["bpd"] == pytest.approx(TRUE_BITS + 0.04, abs=3 * found["bpd_standard_error"] + 0.04)
    assert found["bpd_standard_error"] < 0.03
    assert (found["bpd_terms"], found["bpd_images"]) == (299, 100)
    assert set(network.told) == {None}


def test_the_standard_error_shrinks_with_more_images(noise: ImageData) -> None:
    run, _ = gaussian_run(linear(50, 1e-3, 0.3))
    few, many = (measure_bits(run, noise, ["bpd"], n=n, **LARGE) for n in (25, 9999))
    assert few["bpd_standard_error"] / many["bpd_standard_error"] == pytest.approx(4, rel=0.4)
    assert many["bpd_images"] == 400


def test_an_images_bits_do_not_depend_on_the_batch(noise: ImageData) -> None:
    run, _ = gaussian_run(linear(50, 1e-3, 0.3))
    whole, parts = (
        measure_bits(run, noise, ["bpd", "bpd_ode"], n=20, steps=9, terms=4, batch=batch, **LARGE)
        for batch in (20, 7)
    )
    assert whole.keys() == parts.keys()
    for key, value in whole.items():
        assert value == (pytest.approx(parts[key], rel=1e-5) if isinstance(value, float) else parts[key]), key


def test_continuous_time_is_cut_even_in_log_snr(noise: ImageData) -> None:
    run, _ = gaussian_run(flow())
    found = measure_bits(run, noise, ["bpd"], n=10, steps=40, terms=100, **LARGE)
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
    run, _ = gaussian_run(schedule)
    free, told = (
        measure_bits(run, noise, ["bpd"], n=5, steps=9, variance=v, progress=False) for v in (asked, variance)
    )
    assert free == told and free["bpd_variance"] == variance


def test_a_model_with_labels_is_told_the_images_own(noise: ImageData) -> None:
    run, network = gaussian_run(linear(10, 1e-2, 0.5), conditional=True)
    measure_bits(run, noise, ["bpd"], n=400, batch=250, terms=1, **LARGE)
    told = torch.cat([network.told[0], network.told[2]])  # of each batch, the first of its two terms
    assert torch.equal(told, torch.from_numpy(noise.labels))


def test_clipping_belongs_to_the_model_of_the_bound(noise: ImageData) -> None:
    schedule = linear(50, 1e-3, 0.3)
    run, _ = gaussian_run(schedule)
    run.denoiser.network.register_forward_hook(lambda network, args, output: output - 1.0)  # far too bright
    clipped, plain = (
        measure_bits(run, noise, ["bpd"], n=20, **{**LARGE, "clip": clip})["bpd"] for clip in ("static", "none")
    )
    assert clipped < 0.8 * plain
