"""What a walk passes through, watched from within: a guide that changes nothing and takes note."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel, Prediction


class Point(NamedTuple):
    """Where a walk asked the network.

    Attributes:
        level: The level.
        mean: Of the images there, float64 (C,).
        spread: Their standard deviation about it.
        beyond: The share of the predicted image's pixels that lie beyond [-1.02, 1.02].
    """

    level: NoiseLevel
    mean: Tensor
    spread: float
    beyond: float


@dataclass
class Trace:
    """A guide that takes note of all points.

    Attributes:
        points: So far.
    """

    points: list[Point] = field(default_factory=list)

    def __call__(self, denoise: Denoise) -> Denoise:
        """Return the same predictions, of which note is taken."""

        def watched(x: Tensor, level: NoiseLevel) -> Prediction:
            prediction = denoise(x, level)
            images, mean = x.detach().double(), x.detach().double().mean((0, 2, 3))
            spread = (images - mean[:, None, None]).pow(2).mean().sqrt()
            beyond = (prediction.x0.detach().abs() > 1.02).double().mean()
            self.points.append(Point(level, mean.cpu(), float(spread), float(beyond)))
            return prediction

        return watched
