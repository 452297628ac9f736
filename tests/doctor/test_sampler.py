"""What a solver does to a model that is known exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unstir.diffusion.config import DiffusionConfig, ScheduleConfig
from unstir.diffusion.schedule import cosine, linear, ve
from unstir.doctor import sampler
from unstir.doctor.gaussian import Gaussian
from unstir.models.systems import DenoiserConfig
from unstir.networks.config import UNetConfig
from unstir.sampling import grid
from unstir.sampling.config import SamplingConfig, samplers
from unstir.sampling.ddim import DDIM
from unstir.sampling.ddpm import DDPM


class Known:
    """A patient of whom only the data is known, and how it is drawn."""

    config: DenoiserConfig
    gaussian = Gaussian(*(torch.randn(400, 1, 4, 4) * torch.linspace(0.1, 1, 16).view(4, 4) for _ in range(2)))


def error(solver: Any, steps: int, schedule: Any = None, spacing: str = "trailing") -> float:
    return sampler.solver_error(Known(), grid(schedule or cosine(), steps, spacing), solver)  # type: ignore[arg-type]


def test_few_ancestral_steps_are_far_off_and_many_are_not() -> None:
    assert error(DDPM("small"), 4) > 0.2
    assert error(DDPM("small"), 4) > 2 * error(DDIM(0.0), 50)
    assert error(DDPM("small"), 500) < 0.1
    assert error(DDIM(0.0), 50) < 0.06 and error(DDIM(0.0), 250) < 0.5 * error(DDIM(0.0), 50)
    assert error(DDPM("learned"), 100) == error(DDPM("small"), 100)
    multistep = samplers["dpm++2m"]().build(cosine(), 20)
    assert error(multistep, 20) < error(DDIM(0.0), 20)


@pytest.mark.parametrize(
    ("schedule", "spacing", "cause"),
    [
        (cosine(), "trailing", None),
        (linear(), "trailing", None),
        (linear(100), "trailing", "signal left"),
        (cosine(), "leading", "wrong first step"),
    ],
)
def test_where_the_grid_starts(schedule: Any, spacing: str, cause: str | None) -> None:
    first = grid(schedule, 5, spacing)[0]
    found = [finding.cause for finding in sampler._start(first, schedule(1.0), spacing, "own")]
    assert found == ([cause] if cause else [])


@pytest.mark.parametrize(
    ("asked", "trained", "found"),
    [
        (cosine(), cosine(), False),
        (ve(0.01, 50), ve(0.01, 50), False),
        (cosine(), ve(0.3, 50), True),
        (cosine(), linear(), False),
    ],
)
def test_levels_that_were_not_trained(asked: Any, trained: Any, found: bool) -> None:
    causes = [finding.cause for finding in sampler._levels(grid(asked, 20, "trailing"), trained)]
    assert causes == (["levels not trained"] if found else [])


def test_where_large_areas_are_plain_steps_even_in_log_snr_are_advised() -> None:
    generator = torch.Generator().manual_seed(0)
    plain = [0.8 * torch.randn(200, 1, 1, 1, generator=generator) for _ in range(2)]
    known = Known()
    known.gaussian = Gaussian(*(x + 0.02 * torch.randn(200, 1, 32, 32, generator=generator) for x in plain))
    known.config = DenoiserConfig(network=UNetConfig(), diffusion=DiffusionConfig())
    schedule = cosine()
    errors = {}
    for spacing in ("trailing", "log_snr"):
        solver = samplers["dpm++2m"]().build(schedule, 20)
        errors[spacing] = sampler.solver_error(known, grid(schedule, 20, spacing), solver)  # type: ignore[arg-type]
    assert errors["log_snr"] < 0.1 < 0.3 < errors["trailing"]
    remedy, effect = sampler._better(known, schedule)  # type: ignore[arg-type]
    assert remedy == "unstir sample RUN --sampler dpm++2m --steps 20 --spacing log_snr"
    assert effect.endswith(f"off by {errors['log_snr']:.0%}")
    short = DiffusionConfig(schedule=ScheduleConfig(name="cosine", steps=10))
    known.config = DenoiserConfig(network=UNetConfig(), diffusion=short, sampling=SamplingConfig(steps=10))
    assert sampler._better(known, cosine(10))[0] == "train on a schedule of more levels"  # type: ignore[arg-type]
