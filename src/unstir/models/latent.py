"""Drawing at once from a latent vector z ~ N(0, I), as the networks of GANs and variational autoencoders do."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unstir.diffusion import Condition, NoiseLevel
from unstir.errors import InputError
from unstir.models.drawing import Drawing, Order
from unstir.networks.conditioner import Conditioner
from unstir.networks.told import Told
from unstir.sampling import SeededNoise
from unstir.sampling.draw import pure_noise

if TYPE_CHECKING:
    from unstir.models.systems import LatentConfig


class Conditioned(nn.Module):
    """A network of two arguments, the second of which is the vector made of what is told.

    Args:
        network: Takes ``(x, vector)``.
        told: What is told, by name.
        width: Of the vector.
    """

    def __init__(self, network: nn.Module, told: Mapping[str, Told], width: int) -> None:
        super().__init__()
        self.network = network
        self.conditioner = Conditioner(told, width, 0) if told else None

    def forward(self, x: Tensor, condition: Condition | None = None) -> Any:
        """Return the network's result for ``x`` (B, ...); without a condition all that is told is hidden."""
        return self.network(x, None if self.conditioner is None else self.conditioner(condition, x).vector)


class LatentDrawing(Drawing):
    """A model that draws in one go; ``noise`` to start from is z, (B, L)."""

    config: LatentConfig

    @abstractmethod
    def generate(self, z: Tensor, condition: Condition | None) -> Tensor:
        """Return images (B, C, H, W), float32, for latent vectors (B, L)."""

    def check_noise(self, noise: Tensor) -> None:
        """Check that drawing can start from ``noise``.

        Raises:
            InputError: If it is not (B, L).
        """
        if tuple(noise.shape[1:]) != (self.config.latent,):
            theirs = "x".join(map(str, noise.shape[1:])) or "one number"
            raise InputError(
                f"The model's latent vectors have {self.config.latent} numbers, and these are {theirs}"
            )

    def walk(self, order: Order) -> Iterator[Tensor]:
        """Yield the images.

        Raises:
            InputError: For a guide, which has no steps to steer here.
        """
        if order.course.guide is not None:
            raise InputError(f"This model is {self.config.about} and draws at once: leave the guide out")
        like = torch.empty(len(order.seeds), self.config.latent, device=self.device)
        start = order.course.start or pure_noise(like)
        yield self.generate(start(NoiseLevel(1.0, 0.0, 1.0), SeededNoise(order.seeds)), order.condition)
