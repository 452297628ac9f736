"""Clipping moves the predicted noise with the predicted image, each image on its own."""

import pytest
import torch
from torch import Tensor

from unstir.diffusion import NoiseLevel, Prediction
from unstir.diffusion.schedule import flow, linear, ve
from unstir.sampling.clipping import clipped, dynamically_thresholded


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Says:
    """Predicts one fixed clean image."""

    def __init__(self, x0: Tensor) -> None:
        self.x0, self.calls = x0, 0

    def __call__(self, x: Tensor, level: NoiseLevel) -> Prediction:
        self.calls += 1
        return Prediction.from_x0(self.x0, x, level)


@pytest.mark.parametrize("wrap", [clipped, dynamically_thresholded])
@pytest.mark.parametrize("level", [linear(10).level(1), linear(10).level(10), flow()(1.0), ve()(0.6)])
def test_the_clipped_prediction_still_describes_x(wrap, level: NoiseLevel) -> None:
    x, says = normal(4, 2, 3, 3), Says(normal(4, 2, 3, 3, seed=1, scale=3))
    prediction = wrap(says)(x, level)
    assert prediction.x0.abs().max().item() <= 1
    assert not torch.equal(prediction.eps, says(x, level).eps) or level.alpha == 0
    torch.testing.assert_close(level.noise(prediction.x0, prediction.eps), x)
    assert says.calls == 2 and prediction.level is level


@pytest.mark.parametrize("wrap", [clipped, dynamically_thresholded])
def test_what_lies_inside_is_left_alone(wrap) -> None:
    x, x0, level = normal(2, 1, 4, 4), normal(2, 1, 4, 4, seed=1).clamp(-1, 1), linear(10).level(5)
    prediction = wrap(Says(x0))(x, level)
    torch.testing.assert_close(prediction.x0, x0, rtol=0, atol=0)
    torch.testing.assert_close(prediction.eps, Prediction.from_x0(x0, x, level).eps)


@pytest.mark.parametrize("wrap", [clipped, dynamically_thresholded])
def test_a_learned_variance_is_kept(wrap) -> None:
    variance = normal(2, 3, seed=2)

    def denoise(x: Tensor, level: NoiseLevel) -> Prediction:
        return Prediction.from_x0(3 * x, x, level, variance)

    assert torch.equal(wrap(denoise)(normal(2, 3), linear(10).level(5)).variance, variance)


def test_clipping_clips() -> None:
    x0 = torch.tensor([[-3.0, -0.5, 0.2, 1.01]])
    prediction = clipped(Says(x0))(torch.zeros(1, 4), linear(10).level(5))
    torch.testing.assert_close(prediction.x0, torch.tensor([[-1.0, -0.5, 0.2, 1.0]]))


def test_the_threshold_is_the_images_own_quantile() -> None:
    # 101 values of magnitude 0, 0.04, .. 4: the 0.75 quantile is 3, so 3 and above become 1.
    x0 = (torch.arange(101) * 0.04).double() * torch.tensor([1.0, -1.0]).repeat(51)[:101]
    x0 = x0[torch.randperm(101, generator=torch.Generator().manual_seed(0))].reshape(1, 101)
    prediction = dynamically_thresholded(Says(x0), 0.75)(torch.zeros(1, 101).double(), linear(10).level(5))
    torch.testing.assert_close(prediction.x0, x0.clamp(-3, 3) / 3, rtol=1e-6, atol=1e-6)


def test_the_threshold_is_at_least_one() -> None:
    # Only a few values leave [-1, 1]: the quantile is below 1, so the image is clipped and not stretched.
    x0 = torch.full((1, 100), 0.5).double()
    x0[0, 0] = 7.0
    prediction = dynamically_thresholded(Says(x0), 0.9)(torch.zeros(1, 100).double(), linear(10).level(5))
    assert prediction.x0[0, 0] == 1 and bool((prediction.x0[0, 1:] == 0.5).all())


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    x, x0, level = normal(3, 1, 4, 4), normal(3, 1, 4, 4, seed=1), linear(10).level(7)
    x0 = x0 * torch.tensor([0.3, 2.0, 50.0]).double().reshape(3, 1, 1, 1)
    together = dynamically_thresholded(Says(x0), 0.9)(x, level)
    for i in range(3):
        alone = dynamically_thresholded(Says(x0[i : i + 1]), 0.9)(x[i : i + 1], level)
        assert torch.equal(together.x0[i : i + 1], alone.x0)
        assert torch.equal(together.eps[i : i + 1], alone.eps)


def test_low_precision_images_keep_their_type() -> None:
    x0 = normal(2, 1, 4, 4, scale=3).bfloat16()
    prediction = dynamically_thresholded(Says(x0))(torch.zeros_like(x0), linear(10).level(5))
    assert prediction.x0.dtype == prediction.eps.dtype == torch.bfloat16
