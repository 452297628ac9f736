r"""The solvers' common equation: how the image moves between two levels while its prediction is known.

With :math:`u = \alpha / \sigma` the probability flow is :math:`d(x / \sigma) / du = \hat x_0(x, u)`, whatever the
process. Over a step from ``here`` (h) to ``there`` (t) it is solved by

.. math:: x_t = \frac{\sigma_t}{\sigma_h} x_h + \left(\alpha_t - \frac{\sigma_t}{\sigma_h} \alpha_h\right)
          \bar x_0, \qquad \bar x_0 = \frac{1}{u_t - u_h} \int_{u_h}^{u_t} \hat x_0 \, du

so a solver is a rule for the mean of the predicted image over the step. The prediction here is DDIM; the mean of
a polynomial in :math:`\lambda = \log u` through the last predictions is DPM-Solver++ (Lu et al. 2022b) and UniPC
(Zhao et al. 2023). Nothing is divided by alpha, so a start from pure noise is no special case.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel
from unstir.diffusion.noise_level import broadcast

Point = tuple[NoiseLevel, Tensor]
"""A level and the clean image predicted there."""


def towards(x: Tensor, x0: Tensor, here: NoiseLevel, there: NoiseLevel, kept: Tensor | None = None) -> Tensor:
    """Return ``x`` (B, ...) moved from ``here`` to ``there`` while the predicted image is ``x0`` in the mean.

    Args:
        x: The images at ``here``.
        x0: The mean of the predicted image over the step.
        here: The level of ``x``, with ``sigma`` above 0.
        there: The level to go to.
        kept: The standard deviation of the old noise in the result, where fresh noise will make up
            the rest; all of ``there.sigma`` if None.
    """
    ratio = (there.sigma if kept is None else kept) / here.sigma
    return broadcast(ratio, x) * x + broadcast(there.alpha - ratio * here.alpha, x) * x0


def mean_image(points: Sequence[Point], here: NoiseLevel, there: NoiseLevel) -> Tensor:
    r"""Return the mean over the step of the polynomial in lambda that goes through ``points``.

    With ``s`` running from 0 at ``here`` to 1 at ``there``, the weights of the points give each power of s its
    mean :math:`M_i = \int_0^1 h e^{hs} s^i ds / (e^h - 1)`, where ``h`` is the step in lambda. For a line, M_1 is
    taken at its limit for short steps, 1/2: the midpoint rule of DPM-Solver++ and B_2 of UniPC, and with the
    points ``here`` and ``there`` the trapezoidal rule in u, which holds from pure noise as well.

    Points at pure noise, infinitely far off in lambda, and those not behind ``here`` are left out: the order is
    lower by as many.

    Args:
        points: At levels before ``here``, at ``here`` and, to correct a step already taken, at ``there``.
        here: Where the step begins.
        there: Where it ends.
    """
    start = here.log_snr / 2
    h = float(there.log_snr / 2 - start)
    nodes, images = [], []
    for level, image in points:
        node = 0.0 if level is here else 1.0 if level is there else float(level.log_snr / 2 - start) / h
        if -float("inf") < node < 0 or level is here or level is there:
            nodes.append(node)
            images.append(image)
    s = torch.tensor(nodes, dtype=torch.float64)
    powers = torch.arange(len(nodes), dtype=torch.float64)[:, None]
    weights = torch.linalg.solve(s**powers, _moments(len(nodes), h))
    return sum((float(weight) * image for weight, image in zip(weights, images)), torch.zeros_like(images[0]))


def _moments(count: int, h: float) -> Tensor:
    """Return M_0 to M_(count-1)."""
    if count < 3:
        return torch.tensor([1.0, 0.5][:count], dtype=torch.float64)
    # By parts: M_i = 1 / (1 - e^-h) - i / h M_(i-1).
    last = -1 / torch.expm1(torch.tensor(-h, dtype=torch.float64))
    moments = [torch.ones((), dtype=torch.float64)]
    for i in range(1, count):
        moments.append(last - i / h * moments[-1])
    return torch.stack(moments)
