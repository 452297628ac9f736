"""A denoiser asked about images of another process answers as one that was made for it."""

import pytest
import torch
from torch import Tensor, nn

from unstir.diffusion import Denoiser, NoiseLevel, Prediction, Sockets, on_any_schedule
from unstir.diffusion.exact import GaussianMixtureDenoiser
from unstir.diffusion.parameterization import parameterization
from unstir.diffusion.schedule import cosine, flow, linear, schedules, ve, vp
from unstir.sampling import DDIM, DDPM, grid, sample, trajectory

MIXTURE = GaussianMixtureDenoiser(
    torch.tensor([[-0.6, 0.2, 0.4], [0.5, -0.5, 0.0]]).double(),
    torch.tensor([0.3, 0.2]).double(),
    torch.tensor([0.4, 0.6]).double(),
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Trained:
    """The exact denoiser, which knows the levels of one schedule only."""

    def __init__(self, name: str) -> None:
        self.schedule = schedules[name]()

    def __call__(self, x: Tensor, level: NoiseLevel) -> Prediction:
        known = self.schedule(level.t)
        torch.testing.assert_close((known.alpha, known.sigma), (level.alpha, level.sigma), rtol=1e-6, atol=1e-9)
        return MIXTURE(x, level)


@pytest.mark.parametrize("trained", sorted(set(schedules) - {"single"}))  # which knows one level alone
@pytest.mark.parametrize("asked", sorted(schedules))
def test_the_exact_denoiser_stays_exact(trained: str, asked: str) -> None:
    denoise = on_any_schedule(Trained(trained), schedules[trained]())
    for t in (0.1, 0.4, 0.7):
        level = schedules[asked]()(t)
        x = level.noise(MIXTURE.sample(20, torch.Generator().manual_seed(1)), normal(20, 3))
        changed, exact = denoise(x, level), MIXTURE(x, level)
        assert changed.level is level
        torch.testing.assert_close(changed.x0, exact.x0, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(changed.eps, exact.eps, rtol=1e-6, atol=1e-6)


def test_one_level_per_image_will_do() -> None:
    denoise, level = on_any_schedule(Trained("cosine"), cosine()), ve()(torch.tensor([0.2, 0.5, 0.8]))
    x = level.noise(MIXTURE.sample(3, torch.Generator().manual_seed(1)), normal(3, 3))
    torch.testing.assert_close(denoise(x, level).x0, MIXTURE(x, level).x0, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("trained,asked", [(linear(), flow()), (linear(), ve(1e-4, 1e4)), (vp(), flow())])
def test_beyond_what_was_trained_the_nearest_level_is_asked(trained, asked) -> None:
    seen = []

    def denoise(x: Tensor, level: NoiseLevel) -> Prediction:
        seen.append(level)
        return MIXTURE(x, level)

    changed = on_any_schedule(denoise, trained)
    for t, nearest in ((1.0, 1.0), (1e-5, trained.t_min)):
        level = asked(t)
        x = level.noise(MIXTURE.sample(5, torch.Generator().manual_seed(1)), normal(5, 3))
        prediction = changed(x, level)
        assert seen[-1].t.item() == pytest.approx(nearest)
        assert bool(prediction.x0.isfinite().all())
        torch.testing.assert_close(level.noise(prediction.x0, prediction.eps), x)


class Network(nn.Module):
    """Predicts well what eps is under its own schedule, and keeps the times it was told."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.schedule, self.times = schedules[name](), []

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
        self.times.append(t)
        return MIXTURE(x, self.schedule(t)).eps


def test_a_network_is_told_the_time_of_its_own_schedule() -> None:
    network = Network("vp")
    denoiser = Denoiser(network, parameterization("eps", vp()), vp())
    level = ve()(0.6)
    x = level.noise(MIXTURE.sample(5, torch.Generator().manual_seed(1)), normal(5, 3))
    prediction = on_any_schedule(denoiser, vp())(x, level)
    torch.testing.assert_close(vp()(network.times[0][0]).log_snr, level.log_snr)
    torch.testing.assert_close(prediction.x0, MIXTURE(x, level).x0, rtol=1e-6, atol=1e-6)


def test_ddim_walks_the_same_path_whatever_the_process() -> None:
    # On levels of equal log-SNR the images differ by their scale alone.
    process, other = vp(), ve(1e-3, 1e3)
    levels = grid(process, 20, "log_snr")
    twins = [other(other.time(level.log_snr)) for level in levels]
    denoise = on_any_schedule(Trained("vp"), process)
    x = normal(20, 3)
    mine = trajectory(Trained("vp"), x * levels[0].sigma, levels, DDIM(), torch.zeros_like)
    theirs = trajectory(denoise, x * levels[0].sigma / levels[0].alpha, twins, DDIM(), torch.zeros_like)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.x / a.level.alpha, b.x / b.level.alpha, rtol=1e-6, atol=1e-6)


def test_paths_of_both_processes_agree_at_the_limit() -> None:
    # Each on a grid of its own, from about the same level of noise: what is left falls as 1 / steps.
    changed = on_any_schedule(Trained("vp"), vp())
    start = grid(vp(), 2, "quadratic")[0]
    exploding = ve(0.01, float(start.sigma / start.alpha))
    x = normal(40, 3)

    def apart(steps: int) -> float:
        a = sample(Trained("vp"), x, grid(vp(), steps, "quadratic"), DDIM(), torch.zeros_like)
        b = sample(changed, x / start.alpha, grid(exploding, steps, "linspace"), DDIM(), torch.zeros_like)
        return (a - b).abs().mean().item()

    errors = [apart(steps) for steps in (20, 100, 500)]
    assert errors[2] < 2e-3
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


@pytest.mark.parametrize("asked", ["ve", "flow", "linear"])
def test_samples_under_another_schedule_are_the_mixtures(asked: str) -> None:
    denoise = on_any_schedule(Trained("cosine"), cosine())
    levels = grid(schedules[asked](), 200, "log_snr")
    generator = torch.Generator().manual_seed(0)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    start = noise(torch.zeros(5000, 3).double()) * (levels[0].alpha ** 2 + levels[0].sigma ** 2).sqrt()
    out = sample(denoise, start, levels, DDPM(), noise)
    left = (out[:, 0] - out[:, 1] < 0.1).double().mean().item()
    truth = MIXTURE.sample(50_000, torch.Generator().manual_seed(3))
    assert left == pytest.approx((truth[:, 0] - truth[:, 1] < 0.1).double().mean().item(), abs=0.03)
    torch.testing.assert_close(out.std(dim=0), truth.std(dim=0), rtol=0.05, atol=0)
