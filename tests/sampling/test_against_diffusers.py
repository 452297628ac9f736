"""Whole trajectories against diffusers' schedulers, on shared noise, at every step.

Their index i is our n - 1. Two things about diffusers need care here:

* Its DDIM takes the previous timestep to be ``timestep - T // S``, which is the next point of its own grid only
  for ``leading`` and where S divides T. Its ``step`` is therefore given the true gap, by setting
  ``num_inference_steps`` to the fraction T / gap before each call.
* Its DDPM with the large variance still adds noise in a last step that starts above its timestep 0 (``trailing``);
  here the answer of the last step is the predicted image. There the shared noise is zero.

Its ``trailing`` also gives S + 1 timesteps for some S (29 of 50, 61 of 1000), by adding floats; none is used here.
Its tables are float32 and give only about four digits of ``1 - alpha_bar`` at the first levels, so they are
replaced by their float64 equals; one test leaves them alone.

The fast solvers are given our levels, since each scheduler there has grids of its own:

* DPM-Solver++ computes in float32, and is told here that float64 is that. Its third order halves the second
  difference (which leaves it of second order) and starts with a first-order step that it never corrects: both are
  put right here.
* UniPC lowers its order towards the end, here only in the last step, which in both is the predicted image.
* PNDM finds its levels by subtracting ``T // S``, so it has ``leading`` only. In its last step it takes the mean
  of the last four noises to the end, where here the answer is the predicted image: that step is left out.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from types import SimpleNamespace
from typing import Any

import diffusers.schedulers.scheduling_ddpm
import diffusers.schedulers.scheduling_dpmsolver_multistep
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor, nn

from unstir.diffusion import Denoise, Denoiser, DiscreteSchedule, Sockets
from unstir.diffusion.parameterization import parameterization
from unstir.diffusion.schedule import linear, schedules
from unstir.sampling import DDIM, DDPM, PLMS, DPMSolver, Heun, Sampler, UniPC, grid, trajectory
from unstir.sampling.clipping import clipped, dynamically_thresholded

SPACINGS = ["leading", "trailing", "linspace"]
# T, S: whole and broken strides, a full chain, and the steps of the papers' tables.
SIZES = [(1000, 10), (1000, 50), (1000, 7), (300, 100), (50, 27), (10, 10), (10, 7), (5, 1)]
# One step of linspace is the last level here and the first one there.
CASES = [(size, spacing) for size in SIZES for spacing in SPACINGS if (size[1], spacing) != (1, "linspace")]
SHAPE = (3, 2, 3, 3)


class Network(nn.Module):
    """A smooth nonlinear function of the image and the time that mixes pixels and channels, in float64."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.mix = torch.randn(18, 18, generator=generator, dtype=torch.float64) / 18**0.5
        self.shift = torch.randn(18, generator=generator, dtype=torch.float64)

    def forward(self, x: Tensor, t: Tensor, sockets: Sockets) -> Tensor:
        flat = x.flatten(1) @ self.mix + self.shift * torch.cos(5 * t)[:, None]
        return (1.5 * torch.tanh(flat)).reshape(x.shape)


NETWORK = Network()


def normal(count: int) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(11), dtype=torch.float64)


def precise(scheduler: DDIMScheduler | DDPMScheduler, schedule: DiscreteSchedule, steps: int) -> None:
    """Set the peer's timesteps, and its tables to float64."""
    scheduler.alphas_cumprod = schedule.alphas_cumprod
    scheduler.final_alpha_cumprod = scheduler.one = torch.ones((), dtype=torch.float64)
    scheduler.set_timesteps(steps)


def output(scheduler: Any, x: Tensor, timestep: int) -> Tensor:
    t = (timestep + 1) / scheduler.config.num_train_timesteps
    return NETWORK(x, torch.full((len(x),), t, dtype=torch.float64), None)


def peer_ddim(scheduler: DDIMScheduler, x: Tensor, eta: float, noises: Tensor) -> Iterator[Tensor]:
    timesteps = scheduler.timesteps.tolist()
    for i, timestep in enumerate(timesteps):
        gap = timestep - (timesteps[i + 1] if i + 1 < len(timesteps) else -1)
        scheduler.num_inference_steps = Fraction(scheduler.config.num_train_timesteps, gap)
        x = scheduler.step(
            output(scheduler, x, timestep),
            timestep,
            x,
            eta=eta,
            use_clipped_model_output=True,
            variance_noise=noises[i],
        ).prev_sample
        yield x


def peer_ddpm(scheduler: DDPMScheduler, x: Tensor, noises: Tensor, patch: pytest.MonkeyPatch) -> Iterator[Tensor]:
    timesteps = scheduler.timesteps.tolist()
    for i, timestep in enumerate(timesteps):
        noise = noises[i] if i + 1 < len(timesteps) else torch.zeros_like(x)
        patch.setattr(diffusers.schedulers.scheduling_ddpm, "randn_tensor", lambda *_, noise=noise, **__: noise)
        x = scheduler.step(output(scheduler, x, timestep), timestep, x).prev_sample
        yield x


def denoiser(schedule: DiscreteSchedule, name: str = "eps") -> Denoise:
    return Denoiser(NETWORK, parameterization(name, schedule), schedule)


def ours(
    denoise: Denoise, schedule: DiscreteSchedule, steps: int, spacing: str, sampler: Sampler, noises: Tensor
) -> Iterator[Tensor]:
    left = iter(noises)
    levels = grid(schedule, steps, spacing)
    for step in trajectory(denoise, normal(1)[0], levels, sampler, lambda _: next(left)):
        yield step.x


def assert_same(a: Iterator[Tensor], b: Iterator[Tensor], steps: int, tolerance: float = 1e-9) -> None:
    pairs = list(zip(a, b, strict=True))
    assert len(pairs) == steps
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size,spacing", CASES)
def test_ddim(size: tuple[int, int], spacing: str, eta: float, clip: bool) -> None:
    schedule = linear(size[0])
    peer = DDIMScheduler(size[0], clip_sample=clip, timestep_spacing=spacing)
    precise(peer, schedule, size[1])
    denoise = clipped(denoiser(schedule)) if clip else denoiser(schedule)
    noises = normal(size[1] + 1)[1:]
    theirs = peer_ddim(peer, normal(1)[0], eta, noises)
    assert_same(ours(denoise, schedule, size[1], spacing, DDIM(eta), noises), theirs, size[1])


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("size,spacing", CASES)
def test_ddpm(
    size: tuple[int, int], spacing: str, variance: str, clip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = linear(size[0])
    peer = DDPMScheduler(size[0], variance_type=f"fixed_{variance}", clip_sample=clip, timestep_spacing=spacing)
    precise(peer, schedule, size[1])
    denoise = clipped(denoiser(schedule)) if clip else denoiser(schedule)
    noises = normal(size[1] + 1)[1:]
    theirs = peer_ddpm(peer, normal(1)[0], noises, monkeypatch)
    assert_same(ours(denoise, schedule, size[1], spacing, DDPM(variance), noises), theirs, size[1])


@pytest.mark.parametrize(("eta", "clip"), [(0.0, True), (0.5, False)])
def test_ddim_over_the_whole_chain(eta: float, clip: bool) -> None:
    schedule, noises = linear(), normal(1001)[1:]
    peer = DDIMScheduler(clip_sample=clip)
    precise(peer, schedule, 1000)
    denoise = clipped(denoiser(schedule)) if clip else denoiser(schedule)
    theirs = peer_ddim(peer, normal(1)[0], eta, noises)
    assert_same(ours(denoise, schedule, 1000, "leading", DDIM(eta), noises), theirs, 1000)


@pytest.mark.parametrize(("variance", "spacing"), [("small", "leading"), ("large", "trailing")])
def test_ddpm_over_the_whole_chain(variance: str, spacing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule, noises = linear(), normal(1001)[1:]
    peer = DDPMScheduler(variance_type=f"fixed_{variance}", clip_sample=False, timestep_spacing=spacing)
    precise(peer, schedule, 1000)
    theirs = peer_ddpm(peer, normal(1)[0], noises, monkeypatch)
    assert_same(ours(denoiser(schedule), schedule, 1000, spacing, DDPM(variance), noises), theirs, 1000)


@pytest.mark.parametrize("theirs,name", [("scaled_linear", "quadratic"), ("squaredcos_cap_v2", "cosine")])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_on_other_schedules(theirs: str, name: str, eta: float) -> None:
    schedule, noises = schedules[name](100), normal(21)[1:]
    assert isinstance(schedule, DiscreteSchedule)
    peer = DDIMScheduler(100, beta_schedule=theirs)
    precise(peer, schedule, 20)
    denoise = clipped(denoiser(schedule))
    assert_same(
        ours(denoise, schedule, 20, "leading", DDIM(eta), noises),
        peer_ddim(peer, normal(1)[0], eta, noises),
        20,
    )


@pytest.mark.parametrize("theirs,name", [("sample", "x0"), ("v_prediction", "v")])
def test_other_parameterizations(theirs: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule, noises = linear(100), normal(21)[1:]
    ddim = DDIMScheduler(100, clip_sample=False, prediction_type=theirs)
    precise(ddim, schedule, 20)
    denoise = denoiser(schedule, name)
    assert_same(
        ours(denoise, schedule, 20, "leading", DDIM(0.5), noises),
        peer_ddim(ddim, normal(1)[0], 0.5, noises),
        20,
    )
    ddpm = DDPMScheduler(100, clip_sample=False, prediction_type=theirs)
    precise(ddpm, schedule, 20)
    assert_same(
        ours(denoise, schedule, 20, "leading", DDPM(), noises),
        peer_ddpm(ddpm, normal(1)[0], noises, monkeypatch),
        20,
    )


def test_dynamic_thresholding() -> None:
    schedule, noises = linear(100), normal(21)[1:]
    # Its limit has a ceiling of its own, by default 1; Imagen's has none.
    peer = DDIMScheduler(100, thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=1e9)
    precise(peer, schedule, 20)
    denoise = dynamically_thresholded(denoiser(schedule), 0.9)
    assert_same(
        ours(denoise, schedule, 20, "leading", DDIM(), noises),
        peer_ddim(peer, normal(1)[0], 0.0, noises),
        20,
        tolerance=1e-5,  # the quantile is taken in float32
    )


@pytest.mark.parametrize("steps", [10, 50])
def test_untouched_tables(steps: int) -> None:
    schedule, noises = linear(), normal(steps + 1)[1:]
    peer = DDIMScheduler()
    peer.set_timesteps(steps)
    denoise = clipped(denoiser(schedule))
    mine = ours(denoise, schedule, steps, "leading", DDIM(1.0), noises)
    assert_same(mine, peer_ddim(peer, normal(1)[0], 1.0, noises), steps, tolerance=1e-5)


SOLVER_SPACINGS = ["leading", "trailing", "linspace", "quadratic"]
SOLVER_SIZES = [(1000, 10), (1000, 50), (1000, 7), (300, 100), (1000, 2)]
# The last is too steep for Heun and the start of PLMS, which take another rule there than the peers.


def on_our_levels(scheduler: Any, schedule: DiscreteSchedule, steps: int, spacing: str) -> Any:
    """Give a peer that is set up by ``sigma / alpha`` our levels, in float64."""
    scheduler.set_timesteps(steps)
    levels = grid(schedule, steps, spacing)
    n = torch.tensor([round(float(level.t) * schedule.steps) - 1 for level in levels[:-1]])
    sigmas = torch.stack([level.sigma / level.alpha for level in levels])
    if isinstance(scheduler, HeunDiscreteScheduler):  # it asks twice for each but the first
        n = torch.cat([n[:1], n[1:].repeat_interleave(2)])
        sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    scheduler.timesteps, scheduler.sigmas = n, sigmas
    return scheduler


def peer_dpm(scheduler: DPMSolverMultistepScheduler, x: Tensor, noises: Tensor) -> Iterator[Tensor]:
    before = x
    for i, timestep in enumerate(scheduler.timesteps.tolist()):
        model_output = output(scheduler, x, timestep)
        if scheduler.config.solver_order == 3 and i == 1:  # our start: the first step again, a trapezoid
            (alpha_h, sigma_h), (alpha_t, sigma_t) = (
                scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas[index]) for index in (0, 1)
            )
            x0 = (x - sigma_t * model_output) / alpha_t
            mean = (scheduler.model_outputs[-1] + x0) / 2
            x = sigma_t / sigma_h * before + (alpha_t - alpha_h * sigma_t / sigma_h) * mean
            model_output = (x - alpha_t * x0) / sigma_t  # from which it finds x0 again
        x = scheduler.step(model_output, timestep, x, variance_noise=noises[i]).prev_sample
        yield x


def with_whole_second_difference(scheduler: DPMSolverMultistepScheduler) -> DPMSolverMultistepScheduler:
    """Add the half of the second difference that the peer's third order leaves out."""
    half = scheduler.multistep_dpm_solver_third_order_update

    def whole(outputs: list[Tensor], *, sample: Tensor, noise: Tensor | None) -> Tensor:
        lambdas = -scheduler.sigmas.log()
        newest = scheduler.step_index
        h, h0, h1 = (lambdas[newest + 1 - i] - lambdas[newest - i] for i in range(3))
        second = ((outputs[-1] - outputs[-2]) / h0 - (outputs[-2] - outputs[-3]) / h1) * h**2 / (h0 + h1)
        alpha, _ = scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas[newest + 1])
        missing = alpha * (0.5 - 1 / h - torch.expm1(-h) / h**2) * second
        return half(outputs, sample=sample, noise=noise) + missing

    scheduler.multistep_dpm_solver_third_order_update = whole
    return scheduler


@pytest.mark.parametrize("order,eta", [(1, 0.0), (1, 1.0), (2, 0.0), (2, 1.0), (3, 0.0)])
@pytest.mark.parametrize("spacing", SOLVER_SPACINGS)
@pytest.mark.parametrize("size", SOLVER_SIZES)
def test_dpm_solver(
    size: tuple[int, int], spacing: str, order: int, eta: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    precise_torch = SimpleNamespace(**{**vars(torch), "float32": torch.float64})
    monkeypatch.setattr(diffusers.schedulers.scheduling_dpmsolver_multistep, "torch", precise_torch)
    schedule, steps = linear(size[0]), size[1]
    kind = "sde-dpmsolver++" if eta else "dpmsolver++"
    peer = DPMSolverMultistepScheduler(size[0], algorithm_type=kind, solver_order=order, lower_order_final=False)
    peer = with_whole_second_difference(on_our_levels(peer, schedule, steps, spacing))
    noises = normal(steps + 1)[1:]
    mine = ours(denoiser(schedule), schedule, steps, spacing, DPMSolver(order, eta), noises)
    assert_same(mine, peer_dpm(peer, normal(1)[0], noises), steps)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("spacing", SOLVER_SPACINGS)
@pytest.mark.parametrize("size", SOLVER_SIZES)
def test_unipc(size: tuple[int, int], spacing: str, order: int) -> None:
    schedule, steps = linear(size[0]), size[1]
    peer = UniPCMultistepScheduler(size[0], solver_order=order, solver_type="bh2", final_sigmas_type="zero")
    on_our_levels(peer, schedule, steps, spacing)

    def theirs() -> Iterator[Tensor]:
        x = normal(1)[0]
        for i, timestep in enumerate(peer.timesteps.tolist()):
            peer.register_to_config(lower_order_final=i + 1 == steps)
            x = peer.step(output(peer, x, timestep), timestep, x).prev_sample
            yield x

    mine = ours(denoiser(schedule), schedule, steps, spacing, UniPC(order), normal(0))
    assert_same(mine, theirs(), steps, tolerance=1e-5)


@pytest.mark.parametrize("spacing", SOLVER_SPACINGS)
@pytest.mark.parametrize("size", SOLVER_SIZES[:-1])
def test_heun(size: tuple[int, int], spacing: str) -> None:
    schedule, steps = linear(size[0]), size[1]
    peer = on_our_levels(HeunDiscreteScheduler(size[0]), schedule, steps, spacing)

    def theirs() -> Iterator[Tensor]:
        levels = grid(schedule, steps, spacing)
        x = normal(1)[0] / levels[0].alpha  # the peer's images are x / alpha
        for i, timestep in enumerate(peer.timesteps.tolist()):
            scaled = peer.scale_model_input(x, timestep)
            x = peer.step(output(peer, scaled, round(timestep)), timestep, x).prev_sample
            if i % 2 or i + 1 == len(peer.timesteps):
                yield x * levels[i // 2 + 1].alpha

    mine = ours(denoiser(schedule), schedule, steps, spacing, Heun(), normal(0))
    assert_same(mine, theirs(), steps, tolerance=1e-6)


@pytest.mark.parametrize("size", SOLVER_SIZES[:-1])
def test_plms(size: tuple[int, int]) -> None:
    schedule, steps = linear(size[0]), size[1]
    peer = PNDMScheduler(size[0], skip_prk_steps=True, set_alpha_to_one=True)
    peer.alphas_cumprod = schedule.alphas_cumprod
    peer.set_timesteps(steps)

    def theirs() -> Iterator[Tensor]:
        x = normal(1)[0]
        for i, timestep in enumerate(peer.timesteps.tolist()):
            x = peer.step(output(peer, x, timestep), timestep, x).prev_sample
            if i > 0:  # the first step takes two
                yield x

    mine = islice(ours(denoiser(schedule), schedule, steps, "leading", PLMS(), normal(0)), steps - 1)
    assert_same(mine, islice(theirs(), steps - 1), steps - 1)
