r"""DDIM (Song, Meng and Ermon 2021, equations 12 and 16), on any subset of steps.

.. math:: x_s = \alpha_s \hat x_0 + \sqrt{\sigma_s^2 - \varsigma^2}\, \hat\epsilon + \varsigma z, \qquad
          \varsigma = \eta \frac{\sigma_s}{\sigma_t} \sqrt{1 - \bar\alpha_t / \bar\alpha_s}

Eta 0 is deterministic; eta 1 is the ancestral sampler with the small variance.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel
from unstir.diffusion.noise_level import Noise, broadcast
from unstir.diffusion.posterior import posterior
from unstir.errors import InputError


@dataclass(frozen=True)
class DDIM:
    """DDIM (Song et al. 2021), from no fresh noise to all: first order, one evaluation a step.

    Attributes:
        eta: How much of the posterior's standard deviation is fresh noise, from 0 to 1.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise InputError(f"The eta of ddim lies between 0 (deterministic) and 1 (ddpm), not at {self.eta}")

    def init(self, x: Tensor, start: NoiseLevel) -> None:
        """Nothing is remembered."""

    def step(
        self, denoise: Denoise, x: Tensor, here: NoiseLevel, there: NoiseLevel, state: None, noise: Noise
    ) -> tuple[Tensor, None]:
        """Move along the predicted noise, replacing a part of it by fresh noise."""
        kept, fresh = split_noise(here, there, self.eta)
        prediction = denoise(x, here)
        x = broadcast(there.alpha, x) * prediction.x0 + broadcast(kept, x) * prediction.eps
        if self.eta > 0:
            x = x + broadcast(fresh, x) * noise(x)
        return x, None


def split_noise(here: NoiseLevel, there: NoiseLevel, eta: float) -> tuple[Tensor, Tensor]:
    """Return the standard deviations of the kept and of the fresh noise at ``there``."""
    _, _, posterior_variance = posterior(here, there)
    fresh = eta**2 * posterior_variance
    return (there.sigma**2 - fresh).clamp(min=0).sqrt(), fresh.sqrt()
