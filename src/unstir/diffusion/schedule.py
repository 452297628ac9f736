r"""Schedules: maps from time ``t`` in [0, 1] to a noise level, and back from ``log_snr`` to ``t``.

Most discrete schedules are built from :math:`\beta_1 \dots \beta_T`, with
:math:`\bar\alpha_n = \prod_{i \le n} (1 - \beta_i)`, ``alpha = sqrt(alpha_bar)``, ``sigma = sqrt(1 - alpha_bar)``.
Index n = 0 is clean data and n = 1..T are the noised levels, the papers' t; ``t = n / T``. Between grid
points alpha_bar is interpolated linearly, so a network trained on a grid can be asked for any time.

``ladder`` is the geometric row of sigmas of the score networks, with ``alpha = 1``; their papers count it from the
noisiest down (Song and Ermon 2019).

``LearnedSchedule`` learns its betas with the network (Sohl-Dickstein et al. 2015).

Continuous schedules: ``vp`` and ``ve`` (Song et al. 2021, appendix C) and ``flow``, the straight line
``x_t = (1 - t) x0 + t eps`` (Liu et al. 2022, Lipman et al. 2023); and ``single``, trained at one level alone.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from unstir.diffusion.noise_level import NoiseLevel, Numbers, as_float64
from unstir.diffusion.prediction import divide
from unstir.errors import InputError


class Schedule(ABC):
    """A map from time to noise level. Everything is float64.

    Attributes:
        t_min: The smallest time at which a network is trained or asked; below it lies only clean data.
    """

    t_min: float

    @abstractmethod
    def __call__(self, t: Numbers) -> NoiseLevel:
        """Return the level at time ``t`` in [0, 1], of shape () or (B,).

        Raises:
            InputError: For a time that lies elsewhere.
        """

    @abstractmethod
    def time(self, log_snr: Numbers) -> Tensor:
        """Return the time in [0, 1] whose level has this ``log_snr``: the inverse of calling the schedule."""


def as_time(t: Numbers) -> Tensor:
    """Return ``t`` as a float64 tensor on the CPU, its values seen to lie in [0, 1]."""
    t = as_float64(t)
    if not bool(((t >= 0) & (t <= 1)).all()):
        raise InputError("The times of a schedule lie from 0, clean data, to 1")
    return t


def whole_steps(steps: int, least: int = 1) -> int:
    """Return a number of steps, seen to be whole and at least ``least``."""
    try:
        whole = operator.index(steps)
    except TypeError:
        whole = least - 1
    if whole < least:
        raise InputError(f"The steps are a whole number, at least {least}, and not {steps}")
    return whole


class GridSchedule(Schedule):
    """A schedule with levels of its own, n = 1..steps, at the times ``n / steps``.

    Attributes:
        steps: How many levels there are, clean data left out.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.t_min = 1 / steps

    def level(self, n: Numbers) -> NoiseLevel:
        """Return the exact grid point ``n`` = 0..steps, whole, of shape () or (B,).

        Raises:
            InputError: If there is no such point.
        """
        index = as_float64(n)
        if not bool(((index >= 0) & (index <= self.steps) & (index == index.floor())).all()):
            raise InputError(f"Level {n} is not on the schedule's grid, which runs from 0 to {self.steps}")
        return self._point(index.long())

    def index(self, t: Tensor) -> Tensor:
        """Return n of the grid points nearest to the times ``t``, int64 of the same shape."""
        return (t * self.steps).round().long()

    @abstractmethod
    def _point(self, n: Tensor) -> NoiseLevel:
        """Return the grid points ``n``, int64 and within 0..steps."""


class DiscreteSchedule(GridSchedule):
    """A schedule given by its betas.

    Args:
        betas: ``beta_1 .. beta_T`` in (0, 1), float64, shape (T,). The last may be 1: it ends in pure noise.

    Attributes:
        betas: Shape (T,); ``betas[n - 1]`` is the papers' beta_n.
        alphas_cumprod: alpha_bar, shape (T,); ``alphas_cumprod[n - 1]`` is the papers' alpha_bar_n.
    """

    def __init__(self, betas: Tensor) -> None:
        betas = betas.double()
        if (
            betas.dim() != 1
            or len(betas) < 1
            or not bool(((betas > 0) & (betas <= 1)).all() & (betas[:-1] < 1).all())
        ):
            raise InputError("A schedule needs a row of betas, each above 0 and below 1; only the last may be 1")
        super().__init__(len(betas))
        self.betas = betas
        self.alphas_cumprod = torch.cumprod(1 - betas, dim=0)
        self._alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_cumprod])

    def _point(self, n: Tensor) -> NoiseLevel:
        return _variance_preserving(n.double() / self.steps, self._alpha_bar[n])

    def __call__(self, t: Numbers) -> NoiseLevel:  # noqa: D102
        t = as_time(t)
        position = t * self.steps
        below = position.floor().long().clamp(0, self.steps - 1)
        alpha_bar = torch.lerp(self._alpha_bar[below], self._alpha_bar[below + 1], position - below)
        return _variance_preserving(t, alpha_bar)

    def time(self, log_snr: Numbers) -> Tensor:  # noqa: D102
        alpha_bar = torch.sigmoid(as_float64(log_snr))
        rising = self._alpha_bar.flip(0).contiguous()
        below = self.steps - torch.searchsorted(rising, alpha_bar, right=False).clamp(1, self.steps)
        here, there = self._alpha_bar[below], self._alpha_bar[below + 1]
        return (below + (here - alpha_bar) / (here - there)).clamp(0, self.steps) / self.steps


class LadderSchedule(GridSchedule):
    r"""Sigmas in geometric progression, with ``alpha = 1`` (Song and Ermon 2019).

    :math:`\sigma_n = \sigma_1 \gamma^{n-1}`, also between grid points; from n = 1 down to clean data sigma falls
    linearly.

    Args:
        steps: How many levels there are.
        sigma_min: sigma_1, the least.
        ratio: gamma, above 1.
    """

    def __init__(self, steps: int, sigma_min: float, ratio: float) -> None:
        super().__init__(steps)
        self.sigma_min = sigma_min
        self.ratio = ratio

    def _point(self, n: Tensor) -> NoiseLevel:
        return self(n.double() / self.steps)

    def __call__(self, t: Numbers) -> NoiseLevel:  # noqa: D102
        t = as_time(t)
        n = t * self.steps
        sigma = self.sigma_min * n.clamp(max=1) * self.ratio ** (n - 1).clamp(min=0)
        return NoiseLevel(t, torch.ones_like(t), sigma)

    def time(self, log_snr: Numbers) -> Tensor:  # noqa: D102
        log_rise = -as_float64(log_snr) / 2 - math.log(self.sigma_min)
        n = torch.where(log_rise > 0, 1 + log_rise / math.log(self.ratio), log_rise.exp())
        return (n / self.steps).clamp(0, 1)


class LearnedSchedule(DiscreteSchedule, nn.Module):
    r"""A discrete schedule whose betas are parameters, :math:`\beta_n = \text{sigmoid}(b_n)`, but for the first.

    Whatever the parameters are, alpha_bar falls. Levels carry gradients to them. The first beta stays as it is,
    for the bound would let it fall to fit the training set (Sohl-Dickstein et al. 2015, section 2.4.1).

    Args:
        start: The schedule to start from; each beta below 1.
    """

    def __init__(self, start: DiscreteSchedule) -> None:
        if bool((start.betas == 1).any()):
            raise InputError("Learned betas lie below 1, and this schedule ends in pure noise")
        nn.Module.__init__(self)
        self.steps, self.t_min = start.steps, start.t_min
        self.logits = nn.Parameter(torch.logit(start.betas[1:]).float())
        self._first = start.betas[:1]

    @property
    def betas(self) -> Tensor:  # type: ignore[override]  # noqa: D102
        return torch.cat([self._first, self.logits.cpu().double().sigmoid()])

    @property
    def alphas_cumprod(self) -> Tensor:  # type: ignore[override]  # noqa: D102
        return torch.cumprod(1 - self.betas, dim=0)

    @property
    def _alpha_bar(self) -> Tensor:  # type: ignore[override]
        return torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_cumprod])


class ContinuousSchedule(Schedule):
    """A schedule given by formulas.

    Args:
        alpha_sigma: ``t -> (alpha, sigma)``.
        time: ``log_snr -> t``.
        t_min: The smallest time at which a network is trained or asked.
    """

    def __init__(
        self,
        alpha_sigma: Callable[[Tensor], tuple[Tensor, Tensor]],
        time: Callable[[Tensor], Tensor],
        t_min: float,
    ) -> None:
        self._alpha_sigma = alpha_sigma
        self._time = time
        self.t_min = t_min

    def __call__(self, t: Numbers) -> NoiseLevel:  # noqa: D102
        t = as_time(t)
        return NoiseLevel(t, *self._alpha_sigma(t))

    def time(self, log_snr: Numbers) -> Tensor:  # noqa: D102
        return self._time(as_float64(log_snr)).clamp(0, 1)


def _check_sigmas(sigma_min: float, sigma_max: float) -> None:
    if not 0 < sigma_min < sigma_max < math.inf:
        raise InputError(
            f"sigma_min must be above 0 and below sigma_max, a number; they are {sigma_min:g} and {sigma_max:g}"
        )


def _check_number(name: str, value: float, zero: bool = False) -> None:
    if not (0 < value < math.inf or (zero and value == 0)):
        raise InputError(f"A schedule's {name} is a number {'at least' if zero else 'above'} 0, not {value:g}")


def _variance_preserving(t: Tensor, alpha_bar: Tensor) -> NoiseLevel:
    return NoiseLevel(t, alpha_bar.sqrt(), (1 - alpha_bar).sqrt())


def linear(steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> DiscreteSchedule:
    """Betas evenly spaced (Ho et al. 2020). The ends are never rescaled with ``steps``.

    Where a peer scales them by 1000 / T, the same schedule is
    ``linear(T, 1e-4 * 1000 / T, 0.02 * 1000 / T)``.
    """
    return DiscreteSchedule(torch.linspace(beta_start, beta_end, whole_steps(steps), dtype=torch.float64))


def quadratic(steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> DiscreteSchedule:
    """Betas whose square roots are evenly spaced; elsewhere called scaled-linear."""
    start, end = as_float64([beta_start, beta_end]).sqrt().tolist()
    return DiscreteSchedule(torch.linspace(start, end, whole_steps(steps), dtype=torch.float64) ** 2)


def sigmoid(steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> DiscreteSchedule:
    """Betas along a logistic curve over [-6, 6] (the logistic is in beta, not in alpha_bar)."""
    curve = torch.sigmoid(torch.linspace(-6, 6, whole_steps(steps), dtype=torch.float64))
    return DiscreteSchedule(beta_start + (beta_end - beta_start) * curve)


def cosine(steps: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> DiscreteSchedule:
    r"""Alpha_bar along a squared cosine (Nichol and Dhariwal 2021, equation 17).

    :math:`\bar\alpha(t) = \cos^2(\frac{t + s}{1 + s} \frac{\pi}{2})` up to a constant, with
    ``beta_n = 1 - alpha_bar(n / T) / alpha_bar((n - 1) / T)``, at most ``max_beta``.
    """
    steps = whole_steps(steps)
    _check_number("s", s, zero=True)
    t = torch.arange(steps + 1, dtype=torch.float64) / steps
    alpha_bar = torch.cos((t + s) / (1 + s) * math.pi / 2) ** 2
    return DiscreteSchedule((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=max_beta))


def ladder(steps: int = 1000, sigma_min: float = 0.01, sigma_max: float = 50.0) -> LadderSchedule:
    """Sigmas in geometric progression from ``sigma_min`` at n = 1 to ``sigma_max`` at n = steps, at least 2.

    The defaults are those of Song et al. 2021 for CIFAR-10 with pixels in [0, 1]; pixels in [-1, 1] double the
    sigmas. How to choose all three from the data: :mod:`unstir.diffusion.ladder`.
    """
    steps = whole_steps(steps, least=2)
    _check_sigmas(sigma_min, sigma_max)
    return LadderSchedule(steps, sigma_min, (sigma_max / sigma_min) ** (1 / (steps - 1)))


def vp(beta_min: float = 0.1, beta_max: float = 20.0) -> ContinuousSchedule:
    r"""The variance-preserving process (Song et al. 2021, equation 33), the limit of ``linear``.

    :math:`\log \alpha(t) = -\frac14 t^2 (\beta_{max} - \beta_{min}) - \frac12 t \beta_{min}`.
    """
    _check_number("beta_min", beta_min, zero=True)
    _check_number("beta_max", beta_max)
    slope = beta_max - beta_min

    def alpha_sigma(t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha = -0.25 * t**2 * slope - 0.5 * t * beta_min
        return log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()

    def time(log_snr: Tensor) -> Tensor:
        # -log alpha^2 = softplus(-log_snr) solves the quadratic slope/2 t^2 + beta_min t - that = 0,
        # written so that no two close numbers are subtracted.
        # Below the schedule's last log-SNR, that of t = 1, the answer is 1.
        exponent = torch.nn.functional.softplus(-log_snr).clamp(max=(beta_min + beta_max) / 2)
        return divide(2 * exponent, beta_min + (beta_min**2 + 2 * slope * exponent).sqrt())

    return ContinuousSchedule(alpha_sigma, time, t_min=1e-3)


def ve(sigma_min: float = 0.01, sigma_max: float = 50.0) -> ContinuousSchedule:
    r"""The variance-exploding process (Song et al. 2021, equation 31): a geometric ladder of sigmas.

    ``alpha = 1`` and :math:`\sigma(t) = \sigma_{min} (\sigma_{max} / \sigma_{min})^t` for t above 0;
    t = 0 itself is clean data.
    """
    _check_sigmas(sigma_min, sigma_max)
    log_ratio = math.log(sigma_max / sigma_min)

    def alpha_sigma(t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = sigma_min * (t * log_ratio).exp()
        return torch.ones_like(t), torch.where(t > 0, sigma, torch.zeros_like(t))

    def time(log_snr: Tensor) -> Tensor:
        return (-log_snr / 2 - math.log(sigma_min)) / log_ratio

    return ContinuousSchedule(alpha_sigma, time, t_min=1e-5)


def flow() -> ContinuousSchedule:
    """The straight line from data to noise, ``alpha = 1 - t`` and ``sigma = t``; pure noise at t = 1."""
    return ContinuousSchedule(lambda t: (1 - t, t), lambda log_snr: torch.sigmoid(-log_snr / 2), t_min=1e-3)


def single(amount: float = 0.5) -> ContinuousSchedule:
    """One level to train at, t = 1 with ``alpha = 1`` and ``sigma = amount``: a denoising autoencoder's.

    On the way there from clean data ``sigma = amount t``. Where the corruption is not Gaussian, ``amount`` is what
    :mod:`unstir.diffusion.corruption` says.
    """
    _check_number("amount", amount)
    return ContinuousSchedule(
        lambda t: (torch.ones_like(t), amount * t), lambda log_snr: (-log_snr / 2).exp() / amount, t_min=1.0
    )


schedules: dict[str, Callable[..., Schedule]] = {
    "linear": linear,
    "quadratic": quadratic,
    "cosine": cosine,
    "sigmoid": sigmoid,
    "ladder": ladder,
    "vp": vp,
    "ve": ve,
    "flow": flow,
    "single": single,
}
