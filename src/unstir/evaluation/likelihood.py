"""How many bits a model needs for each dimension of held-out images, with the standard error of that mean.

``bpd`` is the variational bound of the model's ancestral sampler, in the precision that it samples in and with its
clipping of predicted images, on all levels of a discrete schedule; a continuous one is cut into 1,000.
``bpd_ode`` is the likelihood under the probability-flow ODE, in float32: that of another model than the sampler's,
exact but for the solver and the dequantization, and dear, since it needs gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from unstir.data.dataset import ImageData
from unstir.diffusion import Condition, Denoise, Denoiser, GridSchedule, NoiseLevel, Prediction
from unstir.diffusion.likelihood import BoundTerms, Noise, flow_bits, variational_bound
from unstir.progress import counter
from unstir.sampling import SeededNoise, grid
from unstir.training.config import SamplingConfig
from unstir.training.draw import make_denoise
from unstir.training.run import Run

CONTINUOUS_LEVELS = 1000
ODE_LEVELS = 100

Result = TypeVar("Result")


def measure_bits(
    run: Run,
    data: ImageData,
    metrics: Sequence[str],
    sampling: SamplingConfig,
    *,
    n: int,
    steps: int | None = None,
    terms: int = 50,
    seed: int = 0,
    batch: int = 250,
    progress: bool = True,
) -> dict[str, float | int | str]:
    """Return the bits for each dimension of ``n`` images, or of all if there are fewer.

    A model that was trained with labels is told those of the images: it is measured on p(x | label).

    Args:
        run: The model.
        data: The images, of which the same are taken for the same ``n``.
        metrics: ``bpd``, ``bpd_ode`` or both; others are passed over.
        sampling: Its variance and clipping make the model of ``bpd``.
        n: How many images.
        steps: Cut the schedule into so many levels, for ``bpd`` on a discrete one trailing, else even in log-SNR.
        terms: At how many of the levels each image is measured for ``bpd``, beside the last.
        seed: Image i has the noise of seed + i alone.
        batch: How many are measured together.
        progress: Whether to show a progress bar, if standard error is a terminal.
    """
    chosen = np.sort(np.random.default_rng(0).permutation(len(data))[:n])
    device = next(run.denoiser.parameters()).device
    schedule = run.denoiser.schedule

    def over_images(
        name: str, calls: int, denoiser: Denoiser, clip: str, measure: Callable[[Denoise, Tensor, Noise], Result]
    ) -> list[Result]:
        results = []
        with counter(calls * -(-len(chosen) // batch), f"measuring {name}", progress) as advance:
            for start in range(0, len(chosen), batch):
                x0, labels = data.batch(chosen[start : start + batch])
                told = run.config.classes and labels is not None
                condition = Condition(vector=labels.to(device)) if told else None
                plain = sampling.model_copy(update={"guidance": 0.0, "clip": clip, "schedule": None})
                denoise = make_denoise(denoiser, condition, plain)

                def counted(x: Tensor, level: NoiseLevel, denoise: Denoise = denoise) -> Prediction:
                    advance()
                    return denoise(x, level)

                noise = SeededNoise(range(seed + start, seed + start + len(x0)))
                results.append(measure(counted, x0.to(device), noise))
        return results

    report: dict[str, float | int | str] = {"bpd_images": len(chosen)}
    if "bpd" in metrics:
        if isinstance(schedule, GridSchedule):
            levels = grid(schedule, steps or schedule.steps, "trailing")
        else:
            levels = grid(schedule, steps or CONTINUOUS_LEVELS, "log_snr")
        taken = min(terms, len(levels) - 2)
        with run.computing() as denoiser:
            bounds = over_images(
                "bpd",
                taken + 1,
                denoiser,
                sampling.clip,
                lambda denoise, x0, noise: variational_bound(denoise, x0, levels, sampling.variance, noise, taken),
            )
        bound = BoundTerms(*(torch.cat([getattr(b, part) for b in bounds]) for part in _PARTS))
        report |= _summary("bpd", bound.total)
        report |= {f"bpd_{part}": float(getattr(bound, part).mean()) for part in _PARTS}
        report |= {"bpd_levels": len(levels) - 1, "bpd_terms": taken, "bpd_variance": sampling.variance}
    if "bpd_ode" in metrics:
        levels = grid(schedule, steps or ODE_LEVELS, "log_snr")
        bits = over_images(
            "bpd_ode",
            2 * (len(levels) - 2),
            run.denoiser,
            "none",
            lambda denoise, x0, noise: flow_bits(denoise, x0, levels, noise),
        )
        report |= {**_summary("bpd_ode", torch.cat(bits)), "bpd_ode_levels": len(levels) - 1}
    return report


_PARTS = ("prior", "transitions", "decoder")


def _summary(name: str, bits: Tensor) -> dict[str, float]:
    """Return the mean of bits (N,), and where N allows its standard error."""
    mean = {name: float(bits.mean())}
    return mean | {f"{name}_standard_error": float(bits.std()) / math.sqrt(len(bits))} if len(bits) > 1 else mean
