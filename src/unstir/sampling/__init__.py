"""Samplers: from noise to images along a grid of levels, given any ``(x, level) -> Prediction``.

Names are imported when they are first asked for, so that :mod:`unstir.sampling.config` needs no torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

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
    "Replacement",
    "Sampler",
    "SeededNoise",
    "Step",
    "UniPC",
    "from_sigmas",
    "grid",
    "invert",
    "jumps",
    "langevin",
    "measured",
    "sample",
    "samplers",
    "spacings",
    "trajectory",
]

if TYPE_CHECKING:
    from unstir.diffusion.noise_level import Noise
    from unstir.sampling.churn import Churn
    from unstir.sampling.config import samplers
    from unstir.sampling.ddim import DDIM
    from unstir.sampling.ddpm import DDPM
    from unstir.sampling.dpm import DPMSolver
    from unstir.sampling.euler import Euler
    from unstir.sampling.grid import from_sigmas, grid, spacings
    from unstir.sampling.heun import Heun
    from unstir.sampling.inpainting import Replacement, jumps
    from unstir.sampling.inversion import invert
    from unstir.sampling.langevin import AnnealedLangevin, langevin
    from unstir.sampling.noise import SeededNoise
    from unstir.sampling.plms import PLMS
    from unstir.sampling.posterior import measured
    from unstir.sampling.predictor_corrector import PredictorCorrector
    from unstir.sampling.trajectory import Sampler, Step, sample, trajectory
    from unstir.sampling.unipc import UniPC
else:
    _HOMES = {
        "unstir.diffusion.noise_level": ("Noise",),
        "unstir.sampling.churn": ("Churn",),
        "unstir.sampling.config": ("samplers",),
        "unstir.sampling.ddim": ("DDIM",),
        "unstir.sampling.ddpm": ("DDPM",),
        "unstir.sampling.dpm": ("DPMSolver",),
        "unstir.sampling.euler": ("Euler",),
        "unstir.sampling.grid": ("from_sigmas", "grid", "spacings"),
        "unstir.sampling.heun": ("Heun",),
        "unstir.sampling.inpainting": ("Replacement", "jumps"),
        "unstir.sampling.inversion": ("invert",),
        "unstir.sampling.langevin": ("AnnealedLangevin", "langevin"),
        "unstir.sampling.noise": ("SeededNoise",),
        "unstir.sampling.plms": ("PLMS",),
        "unstir.sampling.posterior": ("measured",),
        "unstir.sampling.predictor_corrector": ("PredictorCorrector",),
        "unstir.sampling.trajectory": ("Sampler", "Step", "sample", "trajectory"),
        "unstir.sampling.unipc": ("UniPC",),
    }

    class _Package(ModuleType):
        """The package: ``grid``, ``langevin`` and ``trajectory`` are functions of it though modules are called so.

        The import of a module sets it as an attribute of its package, where it would hide the function.
        """

        def __getattr__(self, name: str) -> object:
            for home, names in _HOMES.items():
                if name in names:
                    return getattr(import_module(home), name)
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")

        def __setattr__(self, name: str, value: object) -> None:
            if not (name in __all__ and isinstance(value, ModuleType)):
                super().__setattr__(name, value)

    sys.modules[__name__].__class__ = _Package
