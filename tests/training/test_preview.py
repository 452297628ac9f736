"""A picture takes no more of a budget in seconds than its share, whatever the sampler asks of the network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unstir.diffusion import Denoiser
from unstir.diffusion.parameterization import parameterization
from unstir.diffusion.schedule import ladder
from unstir.recipes import RECIPES
from unstir.recipes.request import Request
from unstir.training.config import SamplingConfig
from unstir.training.draw import walk
from unstir.training.preview import LAST_SHARE, LEAST_STEPS, Pictures


class Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls, self.weight = 0, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, t: Tensor, condition: None) -> Tensor:
        self.calls += 1
        return self.weight * x.tanh()


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "ddpm"},
        {"sampler": "langevin"},
        {"sampler": "langevin", "updates": 3},
        {"sampler": "pc"},
        {"sampler": "pc", "updates": 4, "predictor": "ancestral"},
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [2, 7])
def test_a_sampling_knows_how_often_it_asks_the_network(steps: int, options: dict[str, Any]) -> None:
    config, schedule, network = SamplingConfig(steps=steps, **options), ladder(20), Counted()
    denoiser = Denoiser(network, parameterization("eps", schedule), schedule)
    list(walk(denoiser, (1, 2, 2), range(3), None, config))
    assert network.calls == config.evaluations


def test_a_picture_asks_the_network_no_more_often_than_its_budget_bears() -> None:
    config = RECIPES["mnist-ncsn"](Request(seconds=100))
    own = config.sampling.evaluations
    pictures = Pictures(config)
    assert own > config.sampling.steps
    pictures.step_seconds = LAST_SHARE * 100 / (own + 0.5)
    assert pictures.evaluations(last=True) == own > pictures.evaluations(last=False)
    pictures.step_seconds *= 2
    assert LEAST_STEPS < pictures.evaluations(last=True) <= (own + 1) / 2
    assert pictures.last_seconds() <= LAST_SHARE * 100
