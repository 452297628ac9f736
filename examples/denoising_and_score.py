"""Optimal denoising is a step along the score: shown, and asserted, on a spiral in the plane.

python examples/denoising_and_score.py docs/denoising-and-score.png

A denoising autoencoder sees x~ = x + sigma eps and answers with what it believes x was. The best answer is

    d(x~) = E[x | x~] = x~ + sigma^2 grad log q(x~)

with q the density of the noised data. So whoever can denoise knows the score, and a network that is trained to
denoise learns it without ever being told a density.
"""

import sys

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from unstir.diffusion import Denoise, Denoiser
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.objective import SquaredError
from unstir.diffusion.parameterization import Eps
from unstir.diffusion.schedule import single

SIGMA = 0.12
SCHEDULE = single(SIGMA)
LEVEL = SCHEDULE(1.0)
REACH, LONGEST = 1.25, 0.2
"""How far the plane is shown to each side, and the longest arrow."""


def spiral(points: int = 300, thickness: float = 0.02) -> GaussianMixtureDenoiser:
    """Return a spiral as a mixture of many small Gaussians, whose every density is known exactly."""
    radius = torch.linspace(0.2**2, 1, points, dtype=torch.float64).sqrt()
    angle = 4 * torch.pi * radius
    means = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
    return GaussianMixtureDenoiser(means, torch.full((points,), thickness).double(), torch.ones(points).double())


def log_density(data: GaussianMixtureDenoiser, x: Tensor) -> Tensor:
    """Return log q(x) of the noised data for points (N, 2), up to a constant: a sum over all Gaussians."""
    variance = data.stds**2 + SIGMA**2
    squared = ((x[:, None] - data.means) ** 2).sum(-1)
    return torch.logsumexp(data.weights.log() - squared / (2 * variance) - variance.log(), dim=1)


def score(data: GaussianMixtureDenoiser, x: Tensor) -> Tensor:
    """Return the gradient of that, by automatic differentiation: nothing here knows of denoising."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(log_density(data, x).sum(), x)[0]


def train(data: GaussianMixtureDenoiser, steps: int = 3000, batch: int = 1024) -> Denoiser:
    """Return a small denoising autoencoder, trained on samples alone."""

    class Network(nn.Sequential):
        def forward(self, x: Tensor, t: Tensor, condition: None) -> Tensor:
            return super().forward(x / SIGMA)  # so that what it must tell apart is of order one

    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = Network(nn.Linear(2, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 2))
    denoiser = Denoiser(network, Eps(), SCHEDULE)
    loss = SquaredError("x0")
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=3e-3, weight_decay=0)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    for _ in range(steps):
        x = data.sample(batch, generator).float()
        eps = torch.randn(x.shape, generator=generator)
        loss(denoiser, x, LEVEL, eps, None).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        rate.step()
    return denoiser.requires_grad_(False)


def repeated(denoise: Denoise, x: Tensor, times: int) -> Tensor:
    """Return where denoising again and again takes points (N, 2): (times + 1, N, 2)."""
    path = [x]
    for _ in range(times):
        path.append(denoise(path[-1], LEVEL).x0)
    return torch.stack(path)


def plane(side: int, reach: float = REACH) -> Tensor:
    """Return a grid of points, (side^2, 2), row by row."""
    line = torch.linspace(-reach, reach, side, dtype=torch.float64)
    return torch.cartesian_prod(line, line).flip(1)


def show_density(axis: Axes, data: GaussianMixtureDenoiser, title: str) -> None:
    fine = log_density(data, plane(200)).exp().reshape(200, 200)
    axis.imshow(fine, extent=(-REACH, REACH) * 2, origin="lower", cmap="Blues", vmax=1.4 * fine.max())
    axis.set(title=title, xticks=[], yticks=[], xlim=(-REACH, REACH), ylim=(-REACH, REACH))


def show_steps(axis: Axes, x: Tensor, step: Tensor, color: str) -> None:
    # Far from the data steps are long: drawn to their end, they would hide all else.
    step = step * (LONGEST / step.norm(dim=1, keepdim=True)).clamp(max=1)
    axis.quiver(*x.T, *step.T, angles="xy", scale_units="xy", scale=1, width=0.0035, color=color)


def main(path: str) -> None:
    data = spiral()

    # The identity: what the exact denoiser moves a point by is sigma^2 times the score.
    x = plane(25)
    moved = data(x, LEVEL).x0 - x
    stepped = SIGMA**2 * score(data, x)
    torch.testing.assert_close(moved, stepped, rtol=1e-9, atol=1e-9)
    print(f"d(x) - x and sigma^2 score differ by at most {float((moved - stepped).abs().max()):.1e}")

    # A network that has seen samples alone.
    denoiser = train(data)
    learned = denoiser(x.float(), LEVEL).x0 - x
    density = log_density(data, x).exp()
    common = density > 0.1 * density.max()
    for name, where in (("near the data", common), ("far from them", ~common)):
        error = (learned - moved)[where].norm(dim=1).mean() / moved[where].norm(dim=1).mean()
        print(f"A trained network's step is wrong by {float(error):.0%} {name}")

    start = 2.4 * torch.rand(60, 2, generator=torch.Generator().manual_seed(1)).double() - 1.2
    paths = repeated(denoiser, start.float(), 15)
    print(
        "Mean log-density of 60 points at the start and after 15 steps: "
        + ", ".join(f"{float(log_density(data, at.double()).mean()):.2f}" for at in (paths[0], paths[-1]))
    )

    figure = Figure(figsize=(15, 5.3), dpi=110, layout="constrained")
    exact, trained, again = figure.subplots(1, 3)
    show_density(exact, data, r"exact: $d(x) - x = \sigma^2\,\nabla \log q_\sigma(x)$")
    show_steps(exact, x, moved, "C3")
    show_density(trained, data, "learned from noised samples (gray: exact)")
    show_steps(trained, x, moved, "0.6")
    show_steps(trained, x, learned, "C0")
    show_density(again, data, "denoised again and again")
    again.plot(*paths.permute(2, 0, 1), color="0.4", linewidth=0.8)
    again.scatter(*paths[0].T, s=14, facecolors="white", edgecolors="0.3", label="start", zorder=3)
    again.scatter(*paths[-1].T, s=14, color="C3", label="after 15 steps", zorder=4)
    again.legend(loc="upper right", framealpha=0.95)
    figure.savefig(path, facecolor="white")
    print(f"The figure is at {path}")


if __name__ == "__main__":
    main(sys.argv[1])
