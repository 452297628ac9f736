"""The pictures along a run: what a budget bears, and those of a denoising autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from unstir.data.dataset import Splits
from unstir.diffusion import Denoiser
from unstir.diffusion.corruption import corruptions
from unstir.diffusion.parameterization import parameterization
from unstir.diffusion.schedule import ladder
from unstir.recipes import RECIPES
from unstir.recipes.request import Request
from unstir.sampling import SeededNoise
from unstir.sampling.images import Images
from unstir.training.build import build_denoiser
from unstir.training.config import Config, SamplingConfig
from unstir.training.draw import walk
from unstir.training.preview import LAST_SHARE, LEAST_STEPS, Samples, pictures
from unstir.training.run import Run

ANSWER = ("diffusion.parameterization=x0", "diffusion.objective=x0", "diffusion.schedule.name=single")


@pytest.mark.parametrize("corruption", corruptions)
def test_rows_are_clean_corrupted_and_restored(
    corruption: str, digits: Splits, make_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = make_config(*ANSWER, f"diffusion.corruption={corruption}", "diffusion.schedule.amount=0.4")
    denoiser = build_denoiser(config).eval()

    class Mirror(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor, condition: None) -> Tensor:
            return x.flip(-1)

    denoiser.network = Mirror()
    denoiser.register_parameter("anchor", torch.nn.Parameter(torch.zeros(())))
    path = pictures(config, digits.held_out).draw(Run(config, denoiser), tmp_path / "x.png")
    picture = np.asarray(Image.open(path))[..., 0]
    factor = 8  # 8x8 images are shown eight times as large, with 2 pixels between them
    tiles = picture[: 3 * 66, : 16 * 66].reshape(3, 66, 16, 66)[:, 2::factor, :, 2::factor].swapaxes(1, 2)

    clean, _ = digits.held_out.batch(np.arange(16))
    noise = SeededNoise(range(16))(clean)
    corrupted = corruptions[corruption](clean, denoiser.schedule(1.0), noise)
    expected = torch.stack([clean, corrupted, corrupted.flip(-1)])
    np.testing.assert_array_equal(tiles, Images(expected.flatten(0, 1)).bytes().reshape(3, 16, 8, 8).numpy())


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
        {"sampler": "heun"},
        {"sampler": "plms"},
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
    pictures = Samples(config)
    assert own > config.sampling.steps
    pictures.step_seconds = LAST_SHARE * 100 / (own + 0.5)
    assert pictures.evaluations(last=True) == own > pictures.evaluations(last=False)
    pictures.step_seconds *= 2
    assert LEAST_STEPS < pictures.evaluations(last=True) <= (own + 1) / 2
    assert pictures.last_seconds() <= LAST_SHARE * 100
