"""The mathematics of diffusion: noise levels, schedules, predictions, denoisers and objectives.

Data is noised as ``x_t = alpha * x0 + sigma * eps``; everything else follows from these four values.
"""

from unstir.diffusion.condition import Condition, Sockets
from unstir.diffusion.denoiser import Denoise, Denoiser
from unstir.diffusion.noise_level import NoiseLevel
from unstir.diffusion.prediction import Prediction
from unstir.diffusion.schedule import DiscreteSchedule, GridSchedule, Schedule
from unstir.diffusion.schedule_change import on_any_schedule

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
