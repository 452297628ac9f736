"""Samplers: from noise to images along a grid of levels, given any ``(x, level) -> Prediction``."""

from collections.abc import Callable

from unstir.sampling.ddim import DDIM
from unstir.sampling.ddpm import DDPM
from unstir.sampling.grid import grid, spacings
from unstir.sampling.noise import SeededNoise
from unstir.sampling.trajectory import Noise, Sampler, Step, sample, trajectory

samplers: dict[str, Callable[..., Sampler]] = {"ddpm": DDPM, "ddim": DDIM}
"""Name to factory, as ``--sampler`` takes them."""

__all__ = [
    "DDIM",
    "DDPM",
    "Noise",
    "Sampler",
    "SeededNoise",
    "Step",
    "grid",
    "sample",
    "samplers",
    "spacings",
    "trajectory",
]
