r"""The schedule change: a denoiser trained on one process, asked about images of another.

Two processes are at the same point where their signal-to-noise ratios agree: there
:math:`x' = \alpha' x_0 + \sigma' \epsilon` is :math:`x = \alpha x_0 + \sigma \epsilon` times a factor, and so
:math:`x_0` and :math:`\epsilon` predicted from the one are those of the other (Kingma et al. 2021, section 5.1).
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from unstir.diffusion.denoiser import Denoise
from unstir.diffusion.noise_level import NoiseLevel, broadcast
from unstir.diffusion.prediction import Prediction, divide
from unstir.diffusion.schedule import Schedule


def on_any_schedule(denoise: Denoise, trained: Schedule) -> Denoise:
    """Return the denoiser for levels of every schedule; ``trained`` is the one it knows.

    Images are scaled to its level of the same log-SNR, and the prediction is one for the images as they came.
    Levels noisier than its noisiest, or cleaner than its ``t_min``, are shown to it as those.
    """

    def changed(x: Tensor, level: NoiseLevel) -> Prediction:
        known, scale = as_known(x, level, trained)
        prediction = denoise(scale * x, known)
        alpha, sigma = level.coefficients(x)
        eps = divide(x - alpha * prediction.x0, sigma)
        drift = None if prediction.drift is None else scale * prediction.drift  # by the chain rule
        return replace(prediction, eps=eps, level=level, drift=drift)

    return changed


def as_known(x: Tensor, level: NoiseLevel, trained: Schedule) -> tuple[NoiseLevel, Tensor]:
    """Return the level of ``trained`` that images ``x`` (B, ...) are shown at, and what scales them to it."""
    known = trained(trained.time(level.log_snr).clamp(min=trained.t_min))
    scale = ((known.alpha**2 + known.sigma**2) / (level.alpha**2 + level.sigma**2)).sqrt()
    return known, broadcast(scale, x)
