"""What a solver does to a model that is known exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unstir.diffusion.schedule import cosine, linear, ve
from unstir.doctor import sampler
from unstir.doctor.gaussian import Gaussian
from unstir.sampling import grid
from unstir.sampling.config import samplers
from unstir.sampling.ddim import DDIM
from unstir.sampling.ddpm import DDPM


class Known:
    """A patient of whom only the data is known."""

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
