r"""Image to image: one model told a degraded picture by its channels, and which task it is (Saharia et al. 2022).

The picture that is told, ``degraded``, is :math:`((1 - m) y, m)`, the mask m being 1 at hidden pixels: see
:mod:`unstir.data.degradations`. Where m is 0 all over, each pixel of y is degraded and none is known for sure.
Else all but the hidden pixels are known, and nothing of them is left to the network, in training or in drawing:

.. math:: \hat x_0 \leftarrow m \hat x_0 + (1 - m) y, \qquad
    \hat\epsilon \leftarrow m \hat\epsilon + (1 - m) (x - \alpha y) / \sigma

So the loss counts hidden pixels alone, as Palette's does, and while an image is drawn the known ones are at every
level what they are in training; no constraint beside it is needed. (The sampler ``ddpm`` with the variance large
alone has them noisier on its way.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unstir.diffusion import Condition, NoiseLevel, Prediction
from unstir.diffusion.prediction import divide
from unstir.errors import InputError
from unstir.networks.told import DEGRADED, TASK

if TYPE_CHECKING:
    from unstir.models.systems import DenoiserConfig


@dataclass(frozen=True)
class Known:
    """Pixels that are known for sure.

    Attributes:
        picture: (B, C, H, W).
        pixels: bool (B, 1, H, W), where the picture is known; of some images nowhere.
    """

    picture: Tensor
    pixels: Tensor

    @staticmethod
    def of(condition: Condition | None) -> Known | None:
        """Return what a condition makes known of its images; None if it tells no degraded picture and its task."""
        if condition is None or not {DEGRADED, TASK} <= condition.parts.keys():
            return None
        told, unseen = condition.parts[DEGRADED]
        hidden = told[:, -1:] > 0.5
        knowing = hidden.flatten(1).any(1) & ~unseen
        return Known(told[:, :-1], ~hidden & knowing[:, None, None, None])

    def __call__(self, denoise: Callable[..., Prediction]) -> Callable[..., Prediction]:
        """Return what predicts the known pixels as they are, and the others as ``denoise`` does."""

        def knowing(x: Tensor, level: NoiseLevel, *condition: Condition | None) -> Prediction:
            prediction = denoise(x, level, *condition)
            alpha, sigma = level.coefficients(x)
            eps = divide(x - alpha * self.picture, sigma)
            drift = None if prediction.drift is None else prediction.drift.masked_fill(self.pixels, 0)
            variance = None if prediction.variance is None else prediction.variance.masked_fill(self.pixels, 0)
            return replace(
                prediction,
                x0=torch.where(self.pixels, self.picture, prediction.x0),
                eps=torch.where(self.pixels, eps, prediction.eps),
                variance=variance,
                drift=drift,
            )

        return knowing

    @property
    def weight(self) -> Tensor:
        """By what the mean loss over the pixels of each image becomes that over its hidden ones, float32 (B,)."""
        return 1 / (1 - self.pixels.flatten(1).float().mean(1)).clamp(min=1 / self.pixels[0].numel())


def told(config: DenoiserConfig, task: str, images: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
    """Return what a model is told of degraded pictures.

    Args:
        config: The model's.
        task: What it is to do.
        images: float32 (N, C, H, W) in [-1, 1].
        mask: bool (N or 1, 1, H, W), true at the pixels to be filled, which may be anything in ``images``.

    Raises:
        InputError: For a task that the model does not know, images that it does not take, or a mask of another
            shape.
    """
    config.check_task(task, mask is not None)
    config.check_takes(tuple(images.shape[1:]))
    count, _, height, width = images.shape
    if mask is None:
        mask = images.new_zeros(count, 1, height, width, dtype=torch.bool)
    if mask.dtype != torch.bool or mask.shape[0] not in (1, count) or mask.shape[1:] != (1, height, width):
        raise InputError(
            f"The mask has to be bool ({count} or 1, 1, {height}, {width}), not {str(mask.dtype)[6:]} "
            f"{tuple(mask.shape)}"
        )
    mask = mask.expand(count, -1, -1, -1)
    picture = torch.cat([images.masked_fill(mask, 0), mask.to(images)], dim=1)
    return {DEGRADED: picture, TASK: torch.full((count,), config.told[TASK].classes.index(task))}


def gray(images: Tensor) -> Tensor:
    """Return colour images (N, 3, H, W) in [-1, 1] as gray in three channels, as colorization is told of them."""
    luma = (images * images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    return (((luma + 1) * 127.5).round() / 127.5 - 1).expand_as(images)
