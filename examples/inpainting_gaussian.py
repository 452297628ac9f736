"""How far three ways of filling in are from the right one, where it is known: four pixels in a row, Gaussian.

Neighbours have the correlation 0.9, the first two pixels are known, and the denoiser is exact. What is measured is
how the hidden pixels that are drawn depend on the known ones, by least squares over all images.

python examples/inpainting_gaussian.py
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from unstir.diffusion import Denoise, NoiseLevel, Prediction
from unstir.diffusion.schedule import linear
from unstir.sampling import DDIM, DDPM, grid, sample, samplers
from unstir.sampling.inpainting import Replacement, jumps
from unstir.sampling.posterior import Mask, measured
from unstir.sampling.trajectory import Sampler

COUNT = 3000
PLACES = torch.arange(4, dtype=torch.float64)
COVARIANCE = 0.25 * 0.9 ** (PLACES[:, None] - PLACES).abs()
HIDDEN = torch.tensor([False, False, True, True])
RIGHT = COVARIANCE[2:, :2] @ COVARIANCE[:2, :2].inverse()


def exact(x: Tensor, level: NoiseLevel) -> Prediction:
    """Return the mean of the clean images given x (N, 4)."""
    alpha, sigma = level.alpha, level.sigma
    noisy = alpha**2 * COVARIANCE + sigma**2 * torch.eye(4, dtype=torch.float64)
    return Prediction.from_x0(x @ (alpha * COVARIANCE @ noisy.inverse()).T, x, level)


def seeded(seed: int):
    """Return a source of noise."""
    generator = torch.Generator().manual_seed(seed)
    return lambda like: torch.randn(like.shape, generator=generator, dtype=torch.float64)


def error(denoise: Denoise, sampler: Sampler, levels: Sequence[NoiseLevel], known: Tensor) -> float:
    """Return how far the drawn pixels' dependence on the known ones is from the right one, relative to it."""
    noise = seeded(1)
    drawn = sample(denoise, noise(known), levels, sampler, noise)
    found = torch.linalg.lstsq(known[:, :2], drawn[:, 2:]).solution.T
    return float((found - RIGHT).norm() / RIGHT.norm())


def main() -> None:
    images = seeded(0)(torch.empty(COUNT, 4)) @ torch.linalg.cholesky(COVARIANCE).T
    known = torch.where(HIDDEN, torch.zeros(()).double(), images)
    schedule = linear()
    levels = grid(schedule, 50)
    solvers = {"ddim": DDIM(), "ddpm": DDPM(), "dpm++2m": samplers["dpm++2m"]().build(schedule, 50)}
    print("| sampler | replacement | repaint, jumps of 2 | posterior, 1 round | 2 rounds | 3 rounds |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, solver in solvers.items():
        held = Replacement(solver, known, HIDDEN, seeded(2))
        errors = [error(exact, held, walk, known) for walk in (levels, jumps(levels, 2, 10))]
        for rounds in (1, 2, 3):
            errors.append(error(measured(exact, known, Mask(HIDDEN), 0.01, rounds), solver, levels, known))
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in errors) + " |", flush=True)
    walk = jumps(grid(schedule, 250))
    held = Replacement(DDPM(), known, HIDDEN, seeded(2))
    print(f"\nrepaint with ddpm, 250 steps, jumps of 10: {error(exact, held, walk, known):.2f}")


if __name__ == "__main__":
    main()
