"""A denoiser: a network, what its output means, and the schedule it was trained on.

Anything of the form ``(x, level) -> Prediction`` can stand in a sampler: a trained denoiser with its
condition, one under guidance, or an exact mathematical one.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from unstir.diffusion.condition import Condition
from unstir.diffusion.noise_level import NoiseLevel
from unstir.diffusion.parameterization import Parameterization
from unstir.diffusion.prediction import Prediction
from unstir.diffusion.schedule import Schedule

Denoise = Callable[[Tensor, NoiseLevel], Prediction]
"""Any callable from noised images (B, ...) and their level to what is believed of the clean ones."""


class Denoiser(nn.Module):
    """A network with its parameterization and its schedule.

    Args:
        network: ``network(x, t, condition)`` with ``x`` (B, C, H, W), ``t`` float of shape (B,) in [0, 1],
            and a condition or None; returns images of the shape of ``x``.
        parameterization: What the network's output means.
        schedule: The schedule the network is trained on.
    """

    def __init__(self, network: nn.Module, parameterization: Parameterization, schedule: Schedule) -> None:
        super().__init__()
        self.network = network
        self.parameterization = parameterization
        self.schedule = schedule

    def forward(self, x: Tensor, level: NoiseLevel, condition: Condition | None = None) -> Prediction:
        """Return the prediction for noised images ``x`` (B, C, H, W) at ``level``.

        The network sees the schedule's time. Under autocast the network runs in low precision; the
        prediction is made in the precision of ``x``.
        """
        t = level.t.to(device=x.device, dtype=x.dtype).expand(len(x))
        output = self.network(self.parameterization.scale_input(x, level), t, condition)
        return self.parameterization.predict(output.to(x.dtype), x, level)
