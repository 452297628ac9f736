"""A sampler takes any ``(x, level) -> Prediction``: here the exact denoiser of a mixture of two Gaussians.

python examples/any_denoiser.py
"""

import torch

from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.schedule import linear
from unstir.sampling import DDPM, SeededNoise, grid, trajectory


def main() -> None:
    denoise = GaussianMixtureDenoiser(
        means=torch.tensor([[-2.0], [2.0]]), stds=torch.tensor([0.3, 0.3]), weights=torch.tensor([0.8, 0.2])
    )
    noise = SeededNoise(range(2000))
    x = noise(torch.empty(2000, 1))
    for step in trajectory(denoise, x, grid(linear(), 200), DDPM(), noise):
        if step.index % 40 == 0:
            left = float((step.x < 0).float().mean())
            print(f"log-SNR {float(step.level.log_snr):6.2f}: {left:.2f} of the samples lie left of 0")
    print("The mixture's weight there is 0.80")


if __name__ == "__main__":
    main()
