r"""Where a held-out loss leads, between two readings of how it fell while its rate was steady, over images seen:

.. math:: L(n) = a n^p \qquad\text{and}\qquad L(n) = c + b n^q.

A power alone is the hopeful reading, since a loss has a floor: of all points and the later half of them those
count that fall less. One down to a floor c, fitted to the later points, is the sober one, since it takes each
flattening for the floor. What the fall of the rate brings at the end is not of the trend, and would come again:
the loss falls in proportion from where it ended.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unstir.training.config import TrainingConfig
from unstir.training.losses import VALIDATION, Log, curve

START, LATER = 0.2, 0.35
"""The parts of the images seen after which points count for a power, and for a power down to a floor."""

LEAST_POINTS, CLEAR = 6, 4.0
"""How many points a trend asks for, and how many standard errors from 0 its power must lie."""

LITTLE = 0.01
"""The fall of a loss in ten times the images that is none."""


class Trend(NamedTuple):
    """A held-out loss and what it would come to.

    Attributes:
        last: What it came to.
        power: Of the images seen, as which it falls if it has no floor.
        left: The part of it that lies above its floor if it has one.
        pace: The power as which that part falls.
    """

    last: float
    power: float
    left: float
    pace: float

    def after(self, times: float) -> tuple[float, float]:
        """Return about what it would come to in so many times the images, at best and at worst."""
        hopeful, sober = times**self.power, times**self.pace
        low, high = sorted((self.last * hopeful, self.last * (1 - self.left * (1 - sober))))
        return low, high

    @property
    def words(self) -> str:
        """What ten times the time would bring, in a sentence."""
        low, high = self.after(10)
        return (
            f"Ten times the time would bring the held-out loss from {self.last:.3g} to between {low:.3g} "
            f"and {high:.3g}, by its trend"
        )


def trend(log: Log, training: TrainingConfig) -> Trend | None:
    """Return the trend of the loss on held-out images; None where it does not clearly fall, or is not known.

    Args:
        log: Of a run that has come to its end.
        training: How it was trained.
    """
    images, values = (np.array(part) for part in curve(log, f"{VALIDATION}loss"))
    if len(values) < LEAST_POINTS or values.min() <= 0:
        return None
    steady = (images >= START * images[-1]) & (images <= (1 - training.decay) * images[-1])
    x, y = np.log(images[steady] / images[-1]), values[steady]
    if len(x) < LEAST_POINTS:
        return None
    half, later = len(x) // 2, x >= np.log(LATER)
    power, _, error = _line(x, np.log(y))
    if later.sum() < 3 or power > -CLEAR * error:
        return None
    power = max(power, _line(x[half:], np.log(y[half:]))[0])
    found = Trend(float(values[-1]), power, *_above_floor(x[later], y[later]))
    return found if found.after(10)[1] < (1 - LITTLE) * found.last else None


def _above_floor(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the part of y that lies above a floor at x = 0, and the power of exp(x) as which it falls."""
    fits = []
    for floor in np.linspace(0, 0.999 * y.min(), 300):
        pace, start, _ = _line(x, np.log(y - floor))
        above = float(np.exp(start))
        wrong = float(np.square(floor + above * np.exp(pace * x) - y).sum())
        fits.append((wrong, above / (floor + above), pace))
    _, left, pace = min(fits)
    return left, pace


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Return the slope of a line through three points or more, its height at 0, and the slope's standard error."""
    centred = x - x.mean()
    squares = float(centred @ centred)
    slope = float(centred @ y) / squares
    rest = y - y.mean() - slope * centred
    return slope, float(y.mean() - slope * x.mean()), float(np.sqrt(rest @ rest / (len(x) - 2) / squares))
