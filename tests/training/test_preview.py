"""The pictures of a denoising autoencoder: held-out images, what became of them, what it made of that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unstir.data.dataset import Splits
from unstir.diffusion.corruption import corruptions
from unstir.sampling import SeededNoise
from unstir.sampling.images import Images
from unstir.training.build import build_denoiser
from unstir.training.config import Config
from unstir.training.preview import pictures
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
