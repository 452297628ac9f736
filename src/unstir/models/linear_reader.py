r"""A linear classifier of a codec's codes: how far a class can be read off them, and where in them it lies.

Of codes z, L numbers of about unit spread, it gives the logits :math:`\ell = W z + b`, trained by the
cross-entropy. Towards class k leads the direction in which its logit gains most on the mean of the others',

.. math:: d_k = w_k - \frac{1}{K - 1} \sum_{j \neq k} w_j, \qquad
    z \leftarrow z + s \sqrt{L} \, \frac{d_k}{\|d_k\|},

a step of s deviations in each number on the whole (Preechakul et al. 2022, section 4.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.models.codec import Codec
from unstir.models.config import CODEC, Label, class_index
from unstir.models.model import Batch, Examples, Model

if TYPE_CHECKING:
    from unstir.models.diffae_config import LinearReaderConfig


class LinearReader(Model):
    """Reads codes of a codec as one of K classes."""

    config: LinearReaderConfig

    def __init__(self, config: LinearReaderConfig, parts: Mapping[str, Model]) -> None:
        super().__init__(config, parts)
        self.head = nn.Linear(math.prod(config.code), len(config.labels))

    @property
    def codec(self) -> Codec:
        """What makes the codes."""
        return self.parts[CODEC]  # type: ignore[return-value]

    def prepare(self, examples: Examples, generator: torch.Generator) -> Batch:
        """Return codes drawn from the moments that the codec keeps of images, and the classes."""
        moments, told = examples
        return Batch(z=self.codec.codes(moments, generator), label=told["label"])

    def losses(self, turn: str, batch: Batch, average: Model) -> dict[str, Tensor]:
        """Return the cross-entropy, and beside it whether the class is misread: 1 or 0."""
        logits, label = self.logits(batch["z"]), batch["label"]
        loss = functional.cross_entropy(logits, label, reduction="none")
        return {"loss": loss, "error": (logits.argmax(1) != label).float()}

    def logits(self, codes: Tensor) -> Tensor:
        """Return log p(c | z) but for a constant, (B, K) float32, of codes (B, ...)."""
        return self.head(codes.flatten(1)).float()

    @torch.no_grad()
    def classify(self, images: Tensor) -> Tensor:
        """Return the class probabilities, (N, K) float64 on the CPU, of images (N, C, H, W) in [-1, 1].

        Raises:
            InputError: For images of another shape than the codec's.
        """
        codes = self.codec.encode(images)
        return self.logits(codes.to(self.device)).double().softmax(1).cpu()

    @torch.no_grad()
    def towards(self, label: Label, by: float) -> Tensor:
        """Return what is added to codes to turn a class up, or down where ``by`` is below 0: of their shape.

        Args:
            label: The class, by name or number.
            by: s, in deviations of each number on the whole.

        Raises:
            InputError: For a class that it does not know.
        """
        k, weights = class_index(self.config.labels, label, "class"), self.head.weight
        others = (weights.sum(0) - weights[k]) / (len(weights) - 1)
        direction = functional.normalize(weights[k] - others, dim=0)
        return (by * math.sqrt(len(direction)) * direction).reshape(self.config.code)
