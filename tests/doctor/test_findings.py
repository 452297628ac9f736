"""What single checks make of numbers that are known."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from unstir.diffusion.schedule import cosine, linear
from unstir.doctor import average, rate, resolution, samples, training, walk
from unstir.doctor.gaussian import Gaussian
from unstir.doctor.patient import Patient
from unstir.doctor.trace import Point, Trace
from unstir.training.config import TrainingConfig
from unstir.training.trend import trend


def smooth(n: int, side: int, seed: int) -> torch.Tensor:
    """Images of large forms, as photographs are: their power falls with the square of the frequency."""
    generator = torch.Generator().manual_seed(seed)
    waves = torch.fft.fft2(torch.randn(n, 3, side, side, generator=generator))
    at = torch.fft.fftfreq(side)
    waves /= (at[:, None].pow(2) + at.pow(2)).sqrt().clamp(min=1 / side)
    x = torch.fft.ifft2(waves).real
    return 0.5 * x / x.std()


def patient(schedule: Any, side: int) -> Any:
    images, held_out = smooth(300, side, 0), smooth(100, side, 1)
    return SimpleNamespace(
        diffusion=SimpleNamespace(one_level=False),
        schedule=schedule,
        known=images,
        gaussian=Gaussian(images, held_out),
        splits=SimpleNamespace(held_out=None),
        some=lambda data, count: (held_out, {}),
        learned=lambda images: images,
    )


def test_the_linear_schedule_destroys_small_images_early_and_cosine_does_not() -> None:
    """Nichol and Dhariwal 2021, section 3.2: the end of the linear schedule is only noise."""
    (found,) = resolution.check(patient(linear(), 16))
    assert found.cause == "schedule destroys too early" and found.figures["idle"] > 0.3
    assert "schedule.name=" in found.remedy and "linear" not in found.remedy
    assert [*resolution.check(patient(cosine(), 16))] == []
    assert found.picture is not None
    lines = found.picture().axes[0].get_lines()
    whole, quarter = lines[0].get_ydata(), lines[2].get_ydata()
    # Of the image made smaller more is known, at each level at which anything is.
    assert all(b > a - 1e-6 for a, b in zip(whole, quarter)) and max(b - a for a, b in zip(whole, quarter)) > 0.05


def test_noise_at_the_first_level_is_noticed() -> None:
    causes = [finding.cause for finding in resolution.check(patient(linear(20, 0.04, 0.5), 16))]
    assert "noise at the first level" in causes


@pytest.mark.parametrize(
    ("losses", "cause"),
    [
        ([0.9, 0.5, 0.2, 0.19, 0.1, 0.05, 0.9], "learning rate too low"),
        ([0.9, 0.1, 0.2, 0.4, 0.9, math.inf, math.inf], "learning rate too high"),
        ([0.9, 0.5, 0.2, 0.19, 0.18, 0.9, 0.9], ""),
    ],
)
def test_the_probe_names_the_better_side(losses: list[float], cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "own_ratio", lambda patient: 1.2)
    monkeypatch.setattr(rate, "probed", lambda patient: losses)
    begun = SimpleNamespace(training=SimpleNamespace(learning_rate=0.1))
    found = [*rate.check(SimpleNamespace(begun=begun, position=SimpleNamespace(step=500)))]  # type: ignore[arg-type]
    assert [finding.cause for finding in found] == ([cause] if cause else [])
    if cause == "learning rate too high":
        assert "learning_rate=0.01" in found[0].remedy and found[0].alarming


def test_a_loss_that_falls_as_a_power_is_carried_on() -> None:
    images = np.arange(1, 41) * 1000.0
    losses = 3.0 * images**-0.3
    log = [{"images": seen, "loss": loss} for seen, loss in zip(images, losses)]
    assert Patient.power.func(SimpleNamespace(log=log)) == pytest.approx(-0.3, rel=1e-6)  # type: ignore[attr-defined]
    held_out = [{"images": seen, "loss": 1.0, "validation_loss": loss} for seen, loss in zip(images, losses)]
    leads = trend(held_out, TrainingConfig(seconds=1))
    assert leads is not None
    found = training._trend(leads, (images.tolist(), losses.tolist()), 600.0)
    assert found.figures["loss in 10 times the time, at best"] == pytest.approx(losses[-1] * 10**-0.3, rel=1e-6)
    assert "in 30 min" in found.effect and "in 1 h 40 min" in found.effect
    assert found.picture is not None
    ours, shown = (line.get_ydata() for line in found.picture().axes[0].get_lines())
    assert np.allclose(ours, shown)


def test_an_average_that_begins_anew_is_seen_in_the_log() -> None:
    def log(*losses: float) -> Any:
        return SimpleNamespace(log=[{"images": i, "validation_loss": loss} for i, loss in enumerate(losses)])

    (found,) = average._jump(log(0.5, 0.3, 0.2, 0.6, 0.3))
    assert found.cause == "average lost" and found.figures == {"before": 0.2, "after": 0.6}
    assert [*average._jump(log(0.5, 0.3, 0.31, 0.29))] == []


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize(("factor", "cause"), [(1.0, None), (1.3, "more"), (0.7, "less")])
def test_a_walk_of_another_spread_is_noticed(factor: float, cause: str | None, guided: bool) -> None:
    images, trace = smooth(300, 16, 0), Trace()
    variance = float((images - images.mean((0, 2, 3))[:, None, None]).pow(2).mean())
    for number in range(50, 1000, 50):
        level = cosine().level(number)
        spread = (float(level.alpha) ** 2 * variance + float(level.sigma) ** 2) ** 0.5
        trace.points.append(Point(level, torch.zeros(3), spread * (factor if number < 300 else 1.0), 0.0))
    config = SimpleNamespace(drawing=lambda options: None, samples=SimpleNamespace(bounded=True))
    found = [
        *walk.check(
            SimpleNamespace(
                known=images,
                walked=SimpleNamespace(trace=trace, otherwise="; so drawn"),
                config=config,
                guided=guided,
            )
        )
    ]  # type: ignore[arg-type]
    if cause is None:
        assert found == []
    else:
        assert found[0].evidence.endswith("; so drawn")
        assert cause in found[0].what and found[0].figures["spread"] == pytest.approx(factor, rel=1e-3)
        assert ("--guidance 0" in found[0].remedy) == guided


def test_samples_clipped_within_the_range_are_told_from_dark_ones() -> None:
    data = smooth(50, 8, 0).clamp(-1, 1)
    assert [finding.figures["end"] for finding in samples._edge(data.clamp(0, 1), data)] == [0.0]
    assert [finding.figures["end"] for finding in samples._edge(data.clamp(-1, 0.5), data)] == [0.5]
    flat = data.clamp(-0.4, 0.4)  # as the data has it
    assert [*samples._edge(flat, flat)] == []
    assert [*samples._edge(data, data)] == [] and [*samples._edge(0.5 * data, data)] == []


def test_each_rate_is_probed_for_as_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network so slow that the steps are cut down too, from the first rate on."""
    rates: list[list[float]] = []

    class Slow:
        def __init__(self, *of: object) -> None:
            rates.append([])

        def step(self, learning_rate: float) -> None:
            rates[-1].append(learning_rate)
            clock[0] += 0.2

        def validation_losses(self) -> dict[str, float]:
            return {"validation_loss": rates[-1][-1]}

    clock = [0.0]
    monkeypatch.setattr(rate, "Learner", Slow)
    monkeypatch.setattr(rate, "with_data", lambda config, *of: config)
    monkeypatch.setattr(rate, "load_parts", lambda *of: {})
    monkeypatch.setattr(rate.time, "monotonic", lambda: clock[0])
    training = SimpleNamespace(batch=64, learning_rate=0.1, model_copy=lambda update: training)
    begun = SimpleNamespace(training=training, model=SimpleNamespace(parts={}), model_copy=lambda update: begun)
    patient = SimpleNamespace(begun=begun, splits=SimpleNamespace(train=None), folder=SimpleNamespace(path=None))
    losses = rate.probed(patient)  # type: ignore[arg-type]
    steps = {len(each) for each in rates[1:]}
    assert steps == {int(rate.SECONDS / len(rate.FACTORS) / 0.2)} and rate.LEAST_STEPS <= min(steps) < rate.STEPS
    assert losses == pytest.approx([factor * 0.1 for factor in rate.FACTORS])
