"""The mathematics of diffusion: noise levels, schedules, predictions, denoisers and objectives.

Data is noised as ``x_t = alpha * x0 + sigma * eps``; everything else follows from these four values. Names are
imported when they are first asked for, so that :mod:`unstir.diffusion.config` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = [
    "Condition",
    "Denoise",
    "Denoiser",
    "DiscreteSchedule",
    "GridSchedule",
    "NoiseLevel",
    "Prediction",
    "Schedule",
    "Sockets",
    "on_any_schedule",
]

if TYPE_CHECKING:
    from unstir.diffusion.condition import Condition, Sockets
    from unstir.diffusion.denoiser import Denoise, Denoiser
    from unstir.diffusion.noise_level import NoiseLevel
    from unstir.diffusion.prediction import Prediction
    from unstir.diffusion.schedule import DiscreteSchedule, GridSchedule, Schedule
    from unstir.diffusion.schedule_change import on_any_schedule
else:
    _HOMES = {
        "condition": ("Condition", "Sockets"),
        "denoiser": ("Denoise", "Denoiser"),
        "noise_level": ("NoiseLevel",),
        "prediction": ("Prediction",),
        "schedule": ("DiscreteSchedule", "GridSchedule", "Schedule"),
        "schedule_change": ("on_any_schedule",),
    }

    def __getattr__(name: str) -> object:
        for home, names in _HOMES.items():
            if name in names:
                return getattr(import_module(f"{__name__}.{home}"), name)
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
