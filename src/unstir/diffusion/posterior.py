r"""The forward process between two of its levels, and its reversal when the clean image is known.

.. math:: q(x_h | x_c) = N\left(\frac{\alpha_h}{\alpha_c} x_c,\ \sigma_{h|c}^2 I\right), \qquad
          \sigma_{h|c}^2 = \sigma_h^2 - \frac{\alpha_h^2}{\alpha_c^2} \sigma_c^2

for a level ``here`` (h) and a cleaner one ``there`` (c), of any process (Kingma et al. 2021, appendix A).
The model's reverse step has the posterior's mean at the predicted image, and one of three variances.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unstir.diffusion.noise_level import NoiseLevel, broadcast
from unstir.diffusion.prediction import Prediction

Variance = Literal["small", "large", "learned"]
"""Of a reverse step: the posterior's (beta tilde); beta; or between the two as the network says."""


def posterior(here: NoiseLevel, there: NoiseLevel) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return the posterior q(x_there | x_here, x0) = N(a x0 + b x_here, c I) as ``(a, b, c)``.

    For any two levels of any process, ``there`` the cleaner (Kingma et al. 2021, appendix A); on neighbours
    of a discrete grid these are Ho et al. 2020, equations 6 and 7, and on a subset those of the respaced
    chain, ``beta = 1 - alpha_bar_here / alpha_bar_there``. ``c`` is 0 where ``there`` is clean.
    """
    ratio = here.alpha / there.alpha
    step = step_variance(here, there)
    return (
        there.alpha * step / here.sigma**2,
        ratio * there.sigma**2 / here.sigma**2,
        step * there.sigma**2 / here.sigma**2,
    )


def step_variance(here: NoiseLevel, there: NoiseLevel) -> Tensor:
    """Return the variance of q(x_here | x_there); on neighbours of a discrete grid the papers' beta."""
    return here.sigma**2 - (here.alpha / there.alpha) ** 2 * there.sigma**2


def log_variance(
    prediction: Prediction, there: NoiseLevel, variance: Variance, smallest: Tensor | None = None
) -> Tensor:
    r"""Return the logarithm of the variance of the model's step p(x_there | x_here), ready to meet images.

    .. math:: \text{small}: \log \tilde\beta, \qquad \text{large}: \log \beta, \qquad
              \text{learned}: v \log \beta + (1 - v) \log \tilde\beta

    (Ho et al. 2020, section 3.2; Nichol and Dhariwal 2021, equation 15.)

    Args:
        prediction: Of the clean images, at the level ``here``; with ``variance``, for the learned one.
        there: The cleaner level.
        variance: Which of the three.
        smallest: What stands in the place of the posterior's variance where that is 0, ``there`` being clean:
            by convention that of the next noisier step.
    """
    here = prediction.level
    _, _, small = posterior(here, there)
    if smallest is not None:
        small = torch.where(small > 0, small, smallest)
    log_small, log_large = (broadcast(value.log(), prediction.x0) for value in (small, step_variance(here, there)))
    if variance == "learned":
        assert prediction.variance is not None
        return torch.lerp(log_small, log_large, prediction.variance)
    return log_small if variance == "small" else log_large
