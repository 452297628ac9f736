"""A denoiser: a network, what its output means, and the schedule it was trained on.

Anything of the form ``(x, level) -> Prediction`` can stand in a sampler: a trained denoiser with its
condition, one under guidance, or an exact mathematical one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from unstir.diffusion.condition import Condition, Sockets
from unstir.diffusion.noise_level import NoiseLevel
from unstir.diffusion.parameterization import Parameterization
from unstir.diffusion.prediction import Prediction
from unstir.diffusion.schedule import Schedule

Denoise = Callable[[Tensor, NoiseLevel], Prediction]
"""Any callable from noised images (B, ...) and their level to what is believed of the clean ones."""


class Denoiser(nn.Module):
    """A network with its parameterization and its schedule.

    Args:
        network: ``network(x, t, sockets)`` with ``x`` (B, C, H, W), ``t`` float of shape (B,) in [0, 1],
            and :class:`Sockets`; returns images of the shape of ``x``, or with a multiple of its channels as
            the parameterization asks.
        parameterization: What the network's output means.
        schedule: The schedule the network is trained on; one that is learned is a part of the model.
        conditioner: From a condition or None and ``x`` to the sockets; None for a model that is told nothing.
        learned_variance: Whether the output's last C channels, from -1 to 1 and beyond, tell the variance of a
            reverse step (Nichol and Dhariwal 2021): they become ``Prediction.variance``, from 0 to 1 and beyond.
    """

    def __init__(
        self,
        network: nn.Module,
        parameterization: Parameterization,
        schedule: Schedule,
        conditioner: nn.Module | None = None,
        learned_variance: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.parameterization = parameterization
        self.schedule = schedule
        self.conditioner = conditioner
        self.learned_variance = learned_variance

    def forward(self, x: Tensor, level: NoiseLevel, condition: Condition | None = None) -> Prediction:
        """Return the prediction for noised images ``x`` (B, C, H, W) at ``level``.

        The network sees the schedule's time. Under autocast the network runs in low precision; the
        prediction is made in the precision of ``x``.
        """
        t = level.t.to(device=x.device, dtype=x.dtype).expand(len(x))
        sockets = Sockets() if self.conditioner is None else self.conditioner(condition, x)
        output = self.network(self.parameterization.scale_input(x, level), t, sockets).to(x.dtype)
        if not self.learned_variance:
            return self.parameterization.predict(output, x, level)
        channels = x.shape[1]
        prediction = self.parameterization.predict(output[:, :-channels], x, level)
        return replace(prediction, variance=(output[:, -channels:] + 1) / 2)
