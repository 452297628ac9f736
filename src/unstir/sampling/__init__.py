"""Samplers: from noise to images along a grid of levels, given any ``(x, level) -> Prediction``."""

from collections.abc import Callable

from unstir.sampling.ddim import DDIM
from unstir.sampling.ddpm import DDPM
from unstir.sampling.grid import grid, spacings
from unstir.sampling.langevin import AnnealedLangevin, langevin
from unstir.sampling.noise import SeededNoise
from unstir.sampling.predictor_corrector import PredictorCorrector
from unstir.sampling.trajectory import Noise, Sampler, Step, sample, trajectory

samplers: dict[str, Callable[..., Sampler]] = {
    "ddpm": DDPM,
    "ddim": DDIM,
    "langevin": AnnealedLangevin,
    "pc": PredictorCorrector,
}
"""Name to factory, as ``--sampler`` takes them."""

__all__ = [
    "DDIM",
    "DDPM",
    "AnnealedLangevin",
    "Noise",
    "PredictorCorrector",
    "Sampler",
    "SeededNoise",
    "Step",
    "grid",
    "langevin",
    "sample",
    "samplers",
    "spacings",
    "trajectory",
]
