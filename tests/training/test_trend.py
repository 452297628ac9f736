"""What more training would bring is said where it is known, and no more than it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from unstir.training.config import TrainingConfig
from unstir.training.trend import Trend, trend

IMAGES = np.arange(1, 21) * 1000.0
TRAINING = TrainingConfig(seconds=1, decay=0.3)
Curve = Callable[[np.ndarray], np.ndarray]


def found(curve: Curve, noise: float = 0.0, training: TrainingConfig = TRAINING) -> Trend | None:
    values = curve(IMAGES) * np.exp(noise * np.random.default_rng(0).normal(size=len(IMAGES)))
    log = [
        {"step": i, "images": images, "loss": 1.0, "validation_loss": value}
        for i, (images, value) in enumerate(zip(IMAGES, values))
    ]
    return trend(log, training)


def test_a_loss_that_falls_as_a_power_is_carried_on_from_where_it_ended() -> None:
    def falls(images: np.ndarray) -> np.ndarray:
        # The rate falls over the last three tenths, and the loss with it: it does not count as the trend.
        return 3 * images**-0.3 * np.where(images > 14_000, 0.8, 1.0)

    leads = found(falls)
    assert leads is not None
    assert leads.power == pytest.approx(-0.3)
    assert leads.after(10) == pytest.approx([0.8 * 3 * 200_000**-0.3] * 2, rel=0.1)
    assert leads.after(1) == pytest.approx([leads.last] * 2)
    low, high = leads.after(10)
    assert leads.words == (
        f"Ten times the time would bring the held-out loss from {leads.last:.3g} to between {low:.3g} and "
        f"{high:.3g}, by its trend"
    )


@pytest.mark.parametrize(("floor", "pace"), [(0.25, -1.0), (0.2, -0.5), (0.1, -0.3)])
def test_where_a_loss_leads_that_has_a_floor_lies_between_the_two_readings(floor: float, pace: float) -> None:
    def falls(images: np.ndarray) -> np.ndarray:
        return floor + 0.05 * (images / IMAGES[-1]) ** pace

    leads = found(falls, noise=0.0005)
    assert leads is not None
    low, high = leads.after(10)
    assert low < falls(10 * IMAGES[-1]) < 1.02 * high < leads.last
    later = IMAGES[(IMAGES >= 9000) & (IMAGES <= 14_000)]  # of the two powers that falls less
    assert leads.power == pytest.approx(np.polyfit(np.log(later), np.log(falls(later)), 1)[0], rel=0.05)


@pytest.mark.parametrize(
    ("curve", "noise", "training"),
    [
        (lambda images: 0 * images + 0.3, 0.0, TRAINING),
        (lambda images: 0.1 * images**0.1, 0.0, TRAINING),
        (lambda images: 3 * images**-0.3 + np.maximum(0, images - 9000) * 1e-4, 0.0, TRAINING),
        (lambda images: 3 * images**-0.05, 0.3, TRAINING),
        (
            lambda images: 3 * images**-0.3,
            0.0,
            TrainingConfig(seconds=1, decay=0.7),
        ),  # too few while it was steady
    ],
    ids=["flat", "rising", "turning", "noisy", "mostly decaying"],
)
def test_what_does_not_clearly_fall_leads_nowhere(curve: Curve, noise: float, training: TrainingConfig) -> None:
    assert found(curve, noise, training) is None
    assert trend([], training) is None
