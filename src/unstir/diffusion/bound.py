r"""The variational bound on the negative log-likelihood, term by term (Sohl-Dickstein 2015; Ho et al. 2020).

.. math:: -\log p(x_0) \le E_q \Big[ \underbrace{D(q(x_T | x_0) \| p(x_T))}_{\text{prior}}
          + \sum_{t > 1} \underbrace{D(q(x_{t-1} | x_t, x_0) \| p(x_{t-1} | x_t))}_{L_{t-1}}
          \underbrace{- \log p(x_0 | x_1)}_{L_0} \Big]

All distributions but the last are Gaussian. Of two posterior means at one ``x_t`` the difference is that of the
images times a number, so that ``x_t`` itself drops out. The last, the decoder, is a Gaussian's integral over the
bin of each of the 256 values that a pixel may have, the two end bins open to infinity.

Terms are in bits for each dimension: nats over ``D log 2``, so that a bound of 8 is that of uniform noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.special import log_ndtr

from unstir.diffusion.noise_level import NoiseLevel, broadcast
from unstir.diffusion.posterior import Variance, log_variance, posterior, step_variance
from unstir.diffusion.prediction import Prediction


def gaussian_kl(difference: Tensor, log_variance: Tensor, other_log_variance: Tensor) -> Tensor:
    """Return D(N(m, exp a) || N(m', exp a')) in nats, elementwise, for ``difference`` m - m', a and a'."""
    log_ratio = log_variance - other_log_variance
    return 0.5 * (log_ratio.expm1() - log_ratio + difference**2 * (-other_log_variance).exp())


def decoder_log_likelihood(x0: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Return the log-probability of each pixel's bin under N(mean, exp(log_variance)), elementwise, in nats.

    :math:`\log(\Phi(b) - \Phi(a))` is taken in the lower tail, into which a bin above the mean is mirrored, as
    :math:`\log \Phi(b) + \log(1 - e^{\log \Phi(a) - \log \Phi(b)})`: exact for any mean and any variance.

    Args:
        x0: Images of 8-bit values p as p / 127.5 - 1, of any shape.
        mean: Same shape.
        log_variance: Anything that broadcasts to it.
    """
    scale = (-0.5 * log_variance).exp()
    p = ((x0 + 1) * 127.5).round()
    low, high = (((p + half) / 127.5 - 1 - mean) * scale for half in (-0.5, 0.5))
    above = low + high > 0
    lower, upper = torch.where(above, -high, low), torch.where(above, -low, high)
    inner = log_ndtr(upper) + (-torch.expm1(log_ndtr(lower) - log_ndtr(upper))).log()
    return torch.where(p < 1, log_ndtr(high), torch.where(p > 254, log_ndtr(-low), inner))


def smallest_variance(chain: NoiseLevel) -> Tensor:
    """Return what stands for the first step's posterior variance, 0, where its logarithm is needed: the second's.

    Args:
        chain: Levels of shape (S + 1,), rising from clean data. With a single step it is beta.
    """
    return posterior(chain[2], chain[1])[2] if len(chain.t) > 2 else step_variance(chain[1], chain[0])


def bound_term(
    prediction: Prediction, x0: Tensor, there: NoiseLevel, variance: Variance, smallest: Tensor
) -> Tensor:
    """Return one term of the bound for each image, in bits for each dimension, shape (B,).

    It is :math:`L_{t-1}`, or :math:`L_0` for the images whose ``there`` is clean data.

    Args:
        prediction: At the noisier level, shape (B, ...).
        x0: The clean images.
        there: The next cleaner level of the chain.
        variance: The model's.
        smallest: From :func:`smallest_variance`.
    """
    of_x0, _, _ = posterior(prediction.level, there)
    difference = broadcast(of_x0, x0) * (x0 - prediction.x0)
    true_log, log = (log_variance(prediction, there, kind, smallest) for kind in ("small", variance))
    nats = gaussian_kl(difference, true_log, log).flatten(1).mean(1)
    last = (there.sigma == 0).expand(len(x0)).to(x0.device)
    if bool(last.any()):
        decoder = decoder_log_likelihood(x0[last], prediction.x0[last], log.expand_as(x0)[last])
        nats = nats.index_put((last,), -decoder.flatten(1).mean(1))
    return nats / math.log(2)


def prior_term(x0: Tensor, level: NoiseLevel) -> Tensor:
    """Return D(q(x_T | x0) || N(0, (alpha^2 + sigma^2) I)) at ``level`` in bits for each dimension, shape (B,)."""
    alpha, _ = level.coefficients(x0)
    log, prior_log = (broadcast(v.log(), x0) for v in (level.sigma**2, level.alpha**2 + level.sigma**2))
    return gaussian_kl(alpha * x0, log, prior_log).flatten(1).mean(1) / math.log(2)
