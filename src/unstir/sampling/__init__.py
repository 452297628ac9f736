"""Samplers: from noise to images along a grid of levels, given any ``(x, level) -> Prediction``."""

from collections.abc import Callable

from unstir.diffusion.noise_level import Noise
from unstir.sampling.churn import Churn
from unstir.sampling.ddim import DDIM
from unstir.sampling.ddpm import DDPM
from unstir.sampling.dpm import DPMSolver, dpm_2m, dpm_3m, dpm_sde
from unstir.sampling.euler import Euler
from unstir.sampling.grid import grid, spacings
from unstir.sampling.heun import Heun
from unstir.sampling.inversion import invert
from unstir.sampling.langevin import AnnealedLangevin, langevin
from unstir.sampling.noise import SeededNoise
from unstir.sampling.plms import PLMS
from unstir.sampling.predictor_corrector import PredictorCorrector
from unstir.sampling.trajectory import Sampler, Step, sample, trajectory
from unstir.sampling.unipc import UniPC

samplers: dict[str, Callable[..., Sampler]] = {
    "ddpm": DDPM,
    "ddim": DDIM,
    "euler": Euler,
    "heun": Heun,
    "dpm++2m": dpm_2m,
    "dpm++3m": dpm_3m,
    "dpm++sde": dpm_sde,
    "unipc": UniPC,
    "plms": PLMS,
    "langevin": AnnealedLangevin,
    "pc": PredictorCorrector,
}
"""Name to factory, as ``--sampler`` takes them."""

__all__ = [
    "DDIM",
    "DDPM",
    "PLMS",
    "AnnealedLangevin",
    "Churn",
    "DPMSolver",
    "Euler",
    "Heun",
    "Noise",
    "PredictorCorrector",
    "Sampler",
    "SeededNoise",
    "Step",
    "UniPC",
    "grid",
    "invert",
    "langevin",
    "sample",
    "samplers",
    "spacings",
    "trajectory",
]
