"""A denoiser: a network, what its output means, and the schedule it was trained on.

Anything of the form ``(x, level) -> Prediction`` can stand in a sampler: a trained denoiser with its
condition, one under guidance, or an exact mathematical one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from unstir.diffusion.condition import Condition, Sockets
from unstir.diffusion.noise_level import NoiseLevel
from unstir.diffusion.parameterization import Parameterization
from unstir.diffusion.prediction import Prediction
from unstir.diffusion.schedule import Schedule

Denoise = Callable[[Tensor, NoiseLevel], Prediction]
"""Any callable from noised images (B, ...) and their level to what is believed of the clean ones."""


TimeOf = Callable[[NoiseLevel], Tensor]
"""What a network is told of the level, of its shape; float64."""


def schedule_time(level: NoiseLevel) -> Tensor:
    """The schedule's time, from 0 to 1: what the networks of this package are told."""
    return level.t


def c_noise(level: NoiseLevel) -> Tensor:
    """``log(sigma / alpha) / 4`` (Karras et al. 2022, table 1).

    Infinite at pure noise, ``alpha = 0``, where the grid ``trailing`` of :func:`unstir.diffusion.schedule.flow`
    begins.
    """
    return level.log_snr / -8


class Denoiser(nn.Module):
    """A network with its parameterization and its schedule.

    Args:
        network: ``network(x, t, sockets)`` with ``x`` (B, C, H, W), ``t`` float of shape (B,), and
            :class:`Sockets`; returns images of the shape of ``x``, or with a multiple of its channels as the
            parameterization asks.
        parameterization: What the network's output means.
        schedule: The schedule the network is trained on; one that is learned is a part of the model.
        conditioner: ``conditioner(condition, x)`` returns the sockets of a condition, or of None, for which all
            is hidden; a network without one is told nothing.
        learned_variance: Whether the output's last C channels, from -1 to 1 and beyond, tell the variance of a
            reverse step (Nichol and Dhariwal 2021): they become ``Prediction.variance``, from 0 to 1 and beyond.
        time: What the network is told of the level as ``t``: :func:`schedule_time`, :func:`c_noise`, or any other
            function, such as ``lambda level: 2 * level.sigma.log()`` for a network of log-variances.
    """

    def __init__(
        self,
        network: nn.Module,
        parameterization: Parameterization,
        schedule: Schedule,
        conditioner: nn.Module | None = None,
        learned_variance: bool = False,
        time: TimeOf = schedule_time,
    ) -> None:
        super().__init__()
        self.network = network
        self.conditioner = conditioner
        self.parameterization = parameterization
        self.schedule = schedule
        self.learned_variance = learned_variance
        self.time = time

    def forward(self, x: Tensor, level: NoiseLevel, condition: Condition | None = None) -> Prediction:
        """Return the prediction for noised images ``x`` (B, C, H, W) at ``level``.

        The network sees the time, in 32 bits at least, and the condition through its sockets. Gradients reach
        ``x``, the condition and the parameters wherever gradients are enabled. Under autocast the network runs in
        low precision; the prediction is made in the precision of ``x``.
        """
        # 16 bits do not tell a thousand times apart.
        t = self.time(level).to(x.device, torch.promote_types(x.dtype, torch.float32)).expand(len(x))
        sockets = Sockets() if self.conditioner is None else self.conditioner(condition, x)
        output = self.network(self.parameterization.scale_input(x, level), t, sockets).to(x.dtype)
        if not self.learned_variance:
            return self.parameterization.predict(output, x, level)
        channels = x.shape[1]
        prediction = self.parameterization.predict(output[:, :-channels], x, level)
        return replace(prediction, variance=(output[:, -channels:] + 1) / 2)
