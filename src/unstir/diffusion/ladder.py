r"""How to choose the ladder of sigmas, and the step of Langevin dynamics on it, from the data.

Song and Ermon 2020, for data of D dimensions (an image's C H W), with sigmas in the units of the data:

1. The largest sigma is about the largest distance between two data points: then the noise alone can carry a
   sample from any one to any other.
2. Neighbouring levels overlap. Points noised by sigma lie at a radius of about :math:`\sqrt{D} \sigma`, with
   deviation :math:`\sigma / \sqrt2`. The ratio :math:`\gamma` of two sigmas is where half of the smaller one's
   points lie within three deviations of the larger one's radius:

   .. math:: \Phi(\sqrt{2D} (\gamma - 1) + 3 \gamma) - \Phi(\sqrt{2D} (\gamma - 1) - 3 \gamma) = \tfrac12
3. The score of all levels is one network's output over sigma: the parameterization ``eps``, but for the sign.
4. T updates of step :math:`a_i = \epsilon \sigma_i^2 / \sigma_{min}^2` should bring noise of
   :math:`\gamma \sigma_i` down to about :math:`\sigma_i`. For data that is one point, the variance left is

   .. math:: \frac{s_T^2}{\sigma_i^2} = (1 - h)^{2T} \left(\gamma^2 - v\right) + v, \qquad
             v = \frac{2 h}{1 - (1 - h)^2}, \qquad h = \frac{\epsilon}{2 \sigma_{min}^2}

   and epsilon is where this comes nearest to 1.
5. Samples come from an average of the weights, as everywhere in this package.

The paper's pixels lie in [0, 1]; on pixels in [-1, 1] its sigmas are doubled.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from unstir.diffusion.schedule import LadderSchedule
from unstir.errors import InputError


def largest_distance(data: Tensor, block: int = 1000) -> float:
    """Return the largest Euclidean distance between two of ``data`` (N, ...), compared ``block`` at a time."""
    flat = data.flatten(1)
    parts = range(0, len(flat), block)
    return max(float(torch.cdist(flat[i : i + block], flat[i:]).max()) for i in parts)


def level_ratio(dimension: int) -> float:
    r"""Return gamma, the ratio of neighbouring sigmas for data of ``dimension`` values.

    The second :math:`\Phi` is one half where its argument is 0, and there the first is :math:`\Phi(6 \gamma)`,
    which is 1 to nine digits.

    Raises:
        InputError: In fewer than 5 dimensions, where any two levels overlap by more than half.
    """
    root = math.sqrt(2 * dimension)
    if root <= 3:
        raise InputError(f"In {dimension} dimensions any two noise levels overlap: choose the ratio by hand")
    return root / (root - 3)


def fitted_ladder(data: Tensor, sigma_min: float = 0.02) -> LadderSchedule:
    """Return the ladder that the rules give for ``data``.

    Args:
        data: The images or a good part of them, shape (N, ...), at least two.
        sigma_min: The least sigma: noise that is not seen. The paper's 0.01, on pixels in [-1, 1].

    Raises:
        InputError: If all images are the same, or as good as that.
    """
    ratio, farthest = level_ratio(data[0].numel()), largest_distance(data)
    if farthest <= sigma_min:
        raise InputError(f"No two images are farther apart than sigma_min, {sigma_min:g}")
    steps = 1 + math.ceil(math.log(farthest / sigma_min) / math.log(ratio))
    return LadderSchedule(steps, sigma_min, ratio)


def variance_left(ratio: float, epsilon: float, updates: int) -> float:
    """Return s_T^2 / sigma^2 after ``updates`` updates with ``epsilon``, in units of sigma_min^2."""
    kept = (1 - epsilon / 2) ** 2
    stationary = epsilon / (1 - kept)
    return kept**updates * (ratio**2 - stationary) + stationary


@lru_cache
def langevin_epsilon(ratio: float, updates: int) -> float:
    """Return the epsilon, in units of sigma_min^2 and within (0, 2), that leaves a variance nearest to 1.

    The paper's own update is ``x + a s + sqrt(2 a) z``, so that its epsilon is half of this one.

    Args:
        ratio: gamma, above 1.
        updates: T, at least 1.
    """
    # The variance left is above 1 and has one minimum, which a golden-section search finds.
    golden = (math.sqrt(5) - 1) / 2
    low, high = 0.0, 2.0
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if variance_left(ratio, left, updates) < variance_left(ratio, right, updates):
            high = right
        else:
            low = left
    return (low + high) / 2
