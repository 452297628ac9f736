r"""How likely images are under a model, in bits for each dimension, in two ways.

By the variational bound (:mod:`unstir.diffusion.bound`) of the ancestral sampler on a chain of levels: what it
would take to code the images with that model. And by the probability-flow ODE, along which density changes as
volume does:

.. math:: z = \frac{x}{\sqrt{\alpha^2 + \sigma^2}} = \cos\phi\, x_0 + \sin\phi\, \epsilon, \qquad
          \frac{dz}{d\phi} = \cos\phi\, \hat\epsilon - \sin\phi\, \hat x_0, \qquad
          \log p(x_0) = \log N(z_T; 0, I) + \int \nabla \cdot \frac{dz}{d\phi}\, d\phi + D \log \cos\phi_{min}

with :math:`\tan\phi = \sigma / \alpha`: the flow of any schedule, since each is another course of phi and another
scale (Song et al. 2021, section 4.3; the angle is Salimans and Ho's, 2022, appendix D). The density is that of the
images at the least noise, :math:`\phi_{min}`. Images of 8 bits are dequantized by uniform noise over their bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from unstir.diffusion.bound import bound_term, prior_term, smallest_variance
from unstir.diffusion.denoiser import Denoise
from unstir.diffusion.noise_level import Noise, NoiseLevel, check_falling
from unstir.diffusion.posterior import Variance
from unstir.errors import InputError


@dataclass(frozen=True)
class BoundTerms:
    """The variational bound of each image by its parts, each of shape (B,), in bits for each dimension.

    Attributes:
        prior: What is left of the image at the noisiest level.
        transitions: The sum of the steps' terms but the last.
        decoder: The last step's, down to 8-bit pixels.
    """

    prior: Tensor
    transitions: Tensor
    decoder: Tensor

    @property
    def total(self) -> Tensor:
        """The whole bound."""
        return self.prior + self.transitions + self.decoder


def variational_bound(
    denoise: Denoise,
    x0: Tensor,
    levels: Sequence[NoiseLevel],
    variance: Variance,
    noise: Noise,
    terms: int | None = None,
) -> BoundTerms:
    """Return the bound of each image under the ancestral sampler on ``levels``; its mean over noise is the bound.

    Args:
        denoise: The model, under its condition.
        x0: Images of 8-bit values as p / 127.5 - 1, shape (B, ...).
        levels: From noise to clean data, as :func:`unstir.sampling.grid` gives them; of any schedule.
        variance: Of the sampler.
        noise: From which each image's noise comes.
        terms: How many of the transitions to take for each image, spread evenly at random, each in the place of
            its neighbours: an unbiased estimate at that many evaluations. None takes all.

    Raises:
        InputError: If the levels do not fall.
    """
    check_falling(levels)
    chain = NoiseLevel.stack(levels[::-1])
    smallest = smallest_variance(chain)

    def term(n: Tensor) -> Tensor:
        level = chain[n]
        prediction = denoise(level.noise(x0, noise(x0)), level)
        return bound_term(prediction, x0, chain[n - 1], variance, smallest)

    count = len(levels) - 2
    taken = count if terms is None else min(terms, count)
    transitions = torch.zeros(len(x0), dtype=x0.dtype, device=x0.device)
    for i in range(taken):
        u = torch.special.ndtr(noise(x0.new_empty(len(x0), 1)))[:, 0].double().cpu()
        position = (i + u.clamp(max=1 - 1e-9)) * count / taken
        transitions += term(2 + position.long()) * (count / taken)
    decoder = term(torch.ones(len(x0), dtype=torch.int64))
    return BoundTerms(prior_term(x0, chain[-1]), transitions, decoder)


def flow_bits(
    denoise: Denoise, x0: Tensor, levels: Sequence[NoiseLevel], noise: Noise, probes: int | None = 1
) -> Tensor:
    """Return the bits for each dimension of images under the probability-flow ODE, shape (B,).

    Args:
        denoise: The model, under its condition; differentiable.
        x0: Images of 8-bit values as p / 127.5 - 1, shape (B, ...).
        levels: As for :func:`flow_log_density`.
        noise: From which dequantization and probes come.
        probes: As for :func:`flow_log_density`, but how many.
    """
    uniform = torch.special.ndtr(noise(x0))
    signs = None if probes is None else [noise(x0).sign() for _ in range(probes)]
    nats, _ = flow_log_density(denoise, x0 + (2 * uniform - 1) / 255, levels, signs)
    return math.log2(127.5) - nats / (x0[0].numel() * math.log(2))


def flow_log_density(
    denoise: Denoise, x0: Tensor, levels: Sequence[NoiseLevel], probes: Sequence[Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Return the log-density of ``x0`` (B, ...) under the probability-flow ODE, and the latent that it flows to.

    Heun's rule, of second order, with two evaluations a step.

    Args:
        denoise: The model, under its condition; differentiable.
        x0: Images of any values.
        levels: From noise to the least of it, at best even in log-SNR; clean data at the end is left out.
        probes: Random signs of the shape of ``x0``: the divergence is then estimated as the mean of
            ``e J e`` over them (Hutchinson 1990). None computes it, by one gradient for each dimension.

    Returns:
        The log-density in nats, shape (B,); and the latent, of the shape of ``x0``, which the density takes for
        standard normal; under the model it is that where the noisiest level has next to no signal. The images at
        that level are ``sqrt(alpha^2 + sigma^2)`` times as large.

    Raises:
        InputError: For fewer than 2 levels with noise, or levels that do not fall.
    """

    def slope(z: Tensor, level: NoiseLevel) -> tuple[Tensor, Tensor]:
        alpha, sigma = level.coefficients(z)
        scale = (alpha**2 + sigma**2).sqrt()
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            v = denoise(scale * z, level).absorbed().v / scale
            return v.detach(), _divergence(v, z, probes)

    check_falling(levels)
    rising = [level for level in reversed(levels) if float(level.sigma) > 0]
    if len(rising) < 2:
        raise InputError("The likelihood of the flow needs at least 2 levels of noise")
    angles = [math.atan2(float(level.sigma), float(level.alpha)) for level in rising]
    z, log_volume = math.cos(angles[0]) * x0, x0.new_zeros(len(x0))
    for (here, there), (angle, next_angle) in zip(pairwise(rising), pairwise(angles), strict=True):
        step = next_angle - angle
        v, divergence = slope(z, here)
        next_v, next_divergence = slope(z + step * v, there)
        z = z + step / 2 * (v + next_v)
        log_volume += step / 2 * (divergence + next_divergence)
    dimensions = x0[0].numel()
    log_prior = -0.5 * (z**2).flatten(1).sum(1) - dimensions / 2 * math.log(2 * math.pi)
    return log_prior + log_volume + dimensions * math.log(math.cos(angles[0])), z


def _divergence(v: Tensor, z: Tensor, probes: Sequence[Tensor] | None) -> Tensor:
    if probes is not None:
        products = [(torch.autograd.grad((v * e).sum(), z, retain_graph=True)[0] * e) for e in probes]
        return torch.stack(products).mean(0).flatten(1).sum(1)
    rows = [torch.autograd.grad(out.sum(), z, retain_graph=True)[0].flatten(1) for out in v.flatten(1).unbind(1)]
    return torch.stack(rows, dim=2).diagonal(dim1=1, dim2=2).sum(1)
