r"""Guidance: wrappers from one ``Denoise`` to another, so that they compose and no sampler knows of them.

Away from a weaker prediction, with all that it says of x0 and of eps mixed alike,

.. math:: (1 + w)\, D(x) - w\, D_{weak}(x)

which is classifier-free guidance where the weak one is the same network without its condition (Ho and Salimans
2022), and autoguidance where it is a worse network (Karras et al. 2024). It may hold in an interval of levels,
outside which w is 0 (Kynkäänniemi et al. 2024), and the contrast that it adds may be taken back in part (Lin et
al. 2024, section 3.4).

By a classifier of noised images, whose gradient is the prediction's drift (Dhariwal and Nichol 2021),

.. math:: g = s\, \nabla_x \log p(c | x)

With exact predictions that gradient for s = 1 is the conditional score less the other: s = 1 draws what belongs to
c, and classifier-free guidance of w is a classifier's of s = 1 + w.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from unstir.diffusion import Condition, Denoise, NoiseLevel, Prediction
from unstir.diffusion.noise_level import broadcast
from unstir.diffusion.prediction import divide

Interval = tuple[float, float]
"""The least and the most ``sigma / alpha`` at which something holds, both included."""

EVERYWHERE: Interval = (0.0, math.inf)


def conditioned(
    denoise: Callable[[Tensor, NoiseLevel, Condition | None], Prediction], condition: Condition | None
) -> Denoise:
    """Return the denoiser with its condition fixed."""
    return lambda x, level: denoise(x, level, condition)


def classifier_free(
    denoise: Callable[[Tensor, NoiseLevel, Condition], Prediction],
    condition: Condition,
    w: float,
    names: Iterable[str] | None = None,
    interval: Interval = EVERYWHERE,
    rescale: float = 0.0,
) -> Denoise:
    r"""Return the guided denoiser :math:`(1 + w) \epsilon(x, c) - w \epsilon(x)` (Ho and Salimans 2022, eq. 6).

    Both predictions come from one call on a doubled batch; where no image is guided, from one on the batch itself.
    A learned variance is that of the conditional prediction.

    Args:
        denoise: What is guided, such as a denoiser trained with conditions hidden at random.
        condition: What to draw, for each image of the batch.
        w: The strength; 0 is off.
        names: The parts of the condition that are hidden in :math:`\epsilon(x)`, and so pushed towards; the others
            stand in both predictions. None for all.
        interval: The levels that are guided.
        rescale: phi, as :func:`by_weaker` takes it.
    """
    both = condition.beside(condition.hide(names))

    def guided(x: Tensor, level: NoiseLevel) -> Prediction:
        strength = _strength(w, level, interval)
        if not strength.any():
            return denoise(x, level, condition)
        doubled = denoise(torch.cat([x, x]), _twice(level), both)
        told, free = (_rows(doubled, rows, level) for rows in (slice(len(x)), slice(len(x), None)))
        return _pushed(told, free, strength, rescale, x)

    return guided


def by_weaker(
    denoise: Denoise, weaker: Denoise, w: float, interval: Interval = EVERYWHERE, rescale: float = 0.0
) -> Denoise:
    r"""Return the denoiser pushed away from what a weaker one says (autoguidance, Karras et al. 2024).

    Where the weaker one errs more in the same direction, the better one errs less for being pushed away from it.

    Args:
        denoise: What is guided.
        weaker: Of the same data, condition and schedule, but smaller or trained for less long.
        w: The strength; 0 is off. The paper's own is w + 1.
        interval: The levels that are guided; at others the weaker one is not asked.
        rescale: phi in [0, 1] (Lin et al. 2024, section 3.4): the guided image is scaled to the standard
            deviation of the unguided one, each image's own, and mixed with itself as it was by
            :math:`\phi` to :math:`1 - \phi`. It is the predicted clean image that is scaled, and the noise
            follows: its contrast is what one sees, whatever the network predicts. The paper's v is that image, up
            to its sign, at the noisiest level, where most is to be mended; a scaled eps would change the image by
            :math:`\sigma / \alpha` as much.
    """

    def guided(x: Tensor, level: NoiseLevel) -> Prediction:
        strength, strong = _strength(w, level, interval), denoise(x, level)
        return _pushed(strong, weaker(x, level), strength, rescale, x) if strength.any() else strong

    return guided


def by_classifier(
    denoise: Denoise, log_probability: Callable[[Tensor, NoiseLevel], Tensor], scale: float = 1.0
) -> Denoise:
    r"""Return the denoiser whose predictions have the drift :math:`s \nabla_x \log p(c | x)`, beside one they had.

    The gradient is made whether or not gradients are on, and under no autocast; where they are on, they flow
    through it.

    Args:
        denoise: What is guided.
        log_probability: ``(x, level) -> log p(c | x)``, of shape (B,), each from its own image, of the class that
            this image is to have.
        scale: s; 1 is Bayes' rule, more draws clearer and less varied images.
    """

    def guided(x: Tensor, level: NoiseLevel) -> Prediction:
        prediction = denoise(x, level)
        through = torch.is_grad_enabled() and x.requires_grad
        plain = sdpa_kernel(SDPBackend.MATH) if through else nullcontext()  # fused ones have no second derivative
        with torch.enable_grad(), torch.autocast(x.device.type, enabled=False), plain:
            at = x if through else x.detach().requires_grad_()
            total = log_probability(at, level).sum()
            (slope,) = torch.autograd.grad(total, at, create_graph=through)
        drift = scale * slope
        return replace(prediction, drift=drift if prediction.drift is None else prediction.drift + drift)

    return guided


def absorbed(denoise: Denoise) -> Denoise:
    """Return the denoiser whose drift, if it has one, is a part of ``eps`` and ``x0``: all samplers take that."""
    return lambda x, level: denoise(x, level).absorbed()


def _strength(w: float, level: NoiseLevel, interval: Interval) -> Tensor:
    """Return the strength at a level, () or (B,): w within the interval and 0 outside."""
    ratio = level.sigma / level.alpha
    return w * ((interval[0] <= ratio) & (ratio <= interval[1]))


def _pushed(strong: Prediction, weak: Prediction, w: Tensor, rescale: float, x: Tensor) -> Prediction:
    """Return the prediction for ``x`` pushed from a weaker one; variance and drift stay the strong one's."""
    w = broadcast(w, x)
    x0, eps = ((1 + w) * a - w * b for a, b in ((strong.x0, weak.x0), (strong.eps, weak.eps)))
    pushed = Prediction(x0, eps, strong.level, strong.variance, strong.drift)
    if rescale == 0:
        return pushed
    before, after = _deviation(strong.x0), _deviation(x0)
    ratio = torch.where(after == 0, 1, divide(before, after))
    return pushed.with_x0((rescale * ratio + 1 - rescale) * x0, x)


def _deviation(x: Tensor) -> Tensor:
    """Return the standard deviation over each image (B, ...), (B, 1, ...)."""
    return x.std(dim=tuple(range(1, x.dim())), keepdim=True, correction=0)


def _rows(prediction: Prediction, rows: slice, level: NoiseLevel) -> Prediction:
    """Return a part of a batch's prediction, at ``level``."""
    variance, drift = (None if part is None else part[rows] for part in (prediction.variance, prediction.drift))
    return Prediction(prediction.x0[rows], prediction.eps[rows], level, variance, drift)


def _twice(level: NoiseLevel) -> NoiseLevel:
    """Return the level of a batch joined to itself."""
    if level.t.dim() == 0:
        return level
    return NoiseLevel(*(torch.cat([value, value]) for value in (level.t, level.alpha, level.sigma)))
