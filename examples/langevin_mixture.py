"""Why a ladder of noise levels: Langevin dynamics on two modes with nothing between them (Song and Ermon 2019).

Above: exact samples of a mixture with weights 0.8 and 0.2; Langevin dynamics along its exact score, which finds
the modes and not their weights; annealed Langevin dynamics, which finds both. Below: the mixture's score, what a
network learns of it from samples, and where it errs: between and beside the modes, where it has seen nothing.

python examples/langevin_mixture.py docs/langevin-mixture.png
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from unstir.diffusion import Denoiser, NoiseLevel
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.objective import simple
from unstir.diffusion.parameterization import parameterization
from unstir.diffusion.schedule import ladder
from unstir.sampling import AnnealedLangevin, grid, langevin, sample

MIXTURE = GaussianMixtureDenoiser(
    means=torch.tensor([[-5.0, -5.0], [5.0, 5.0]]), stds=torch.ones(2), weights=torch.tensor([0.8, 0.2])
)
LADDER = ladder(30, 0.1, 20.0)
SINGLE = LADDER.level(1)
SIDE = 8.0


class Network(nn.Module):
    """A small score network for one level, which needs not be told the time."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2)
        )

    def forward(self, x: Tensor, t: Tensor, condition: None) -> Tensor:
        """Return the score at ``x`` (N, 2)."""
        return self.layers(x / SIDE)


def learned(data: Tensor, level: NoiseLevel, steps: int = 3000) -> Denoiser:
    """Train a denoiser at one level on samples (N, 2)."""
    denoiser = Denoiser(Network(), parameterization("score", LADDER), LADDER)
    optimizer = torch.optim.Adam(denoiser.parameters(), 2e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x0 = data[torch.randint(len(data), (512,))]
        optimizer.zero_grad()
        simple()(denoiser, x0, level, torch.randn_like(x0), None).mean().backward()
        optimizer.step()
        decay.step()
    return denoiser


def scatter(axis: Axes, x: Tensor, title: str) -> None:
    low = float((x.sum(1) < 0).float().mean())
    axis.scatter(*x[:2000].T, s=2, alpha=0.4, linewidths=0)
    axis.set_title(f"{title}\n{low:.2f} and {1 - low:.2f}")
    print(f"{title}: {low:.3f} of the samples lie in the mode of weight 0.8")


def arrows(axis: Axes, points: Tensor, score: Tensor, title: str) -> None:
    u = score / score.norm(dim=1, keepdim=True).sqrt()  # long arrows less long, so that short ones are seen
    axis.quiver(*points.T, *u.T, color="tab:blue", width=0.005)
    axis.set_title(title)


def main(figure: str) -> None:
    torch.manual_seed(0)
    data = MIXTURE.sample(4000)
    noise = torch.randn_like
    start = SIDE * (2 * torch.rand(4000, 2) - 1)
    plain = langevin(MIXTURE, start, SINGLE, 0.1, 1000, noise)
    annealed = sample(MIXTURE, 20 * noise(start), grid(LADDER, 30), AnnealedLangevin(60, 0.3), noise)

    _, axes = plt.subplots(2, 3, figsize=(12.4, 8.6), sharex=True, sharey=True, layout="constrained")
    scatter(axes[0, 0], data, "exact samples")
    scatter(axes[0, 1], plain, "Langevin, exact score")
    scatter(axes[0, 2], annealed, "annealed Langevin, exact scores")

    denoiser = learned(data, SINGLE)
    line = torch.linspace(-SIDE, SIDE, 161)
    fine = torch.cartesian_prod(line, line)
    coarse = fine.reshape(161, 161, 2)[4::8, 4::8].reshape(-1, 2)
    with torch.no_grad():
        arrows(axes[1, 0], coarse, MIXTURE(coarse, SINGLE).score, "the mixture's score")
        arrows(axes[1, 1], coarse, denoiser(coarse, SINGLE).score, "the score a network learned from the samples")
        error = (denoiser(fine, SINGLE).score - MIXTURE(fine, SINGLE).score).norm(dim=1).reshape(161, 161)
    distance = torch.cdist(fine, MIXTURE.means)
    density = ((-(distance**2) / 2).exp() * MIXTURE.weights).sum(1).reshape(161, 161)
    picture = axes[1, 2].pcolormesh(line, line, error.T, cmap="magma", vmin=0, vmax=8, shading="nearest")
    plt.colorbar(picture, ax=axes[1], label="length of the error", extend="max")
    for axis, color in zip(axes[1], ("gray", "gray", "white")):
        axis.contour(line, line, density.T, levels=[1e-3, 1e-2, 1e-1], colors=color, linewidths=0.8)
    axes[1, 2].set_title("its error (lines: the density)")
    seen, unseen = error[density > 1e-2].mean(), error[density <= 1e-2].mean()
    print(f"error of the learned score: {seen:.2f} where data are, {unseen:.2f} elsewhere")
    for axis in axes.flat:
        axis.set(xlim=(-SIDE, SIDE), ylim=(-SIDE, SIDE), aspect="equal")
    plt.savefig(figure, dpi=110)
    print(f"The figure is at {figure}")


if __name__ == "__main__":
    main(sys.argv[1])
