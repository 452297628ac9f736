r"""A linear classifier of a codec's codes: how far a class can be read off them, and where in them it lies.

Of codes z, L numbers, it gives the logits :math:`\ell = W z + b`, trained by the cross-entropy. How far class k
leads the mean of the others is :math:`d_k^T z` but for a constant, and codes move towards it as they do over the
images where it is larger, by their covariance :math:`\Sigma` with it:

.. math:: d_k = w_k - \frac{1}{K - 1} \sum_{j \neq k} w_j, \qquad
    z \leftarrow z + s \sqrt{L} \, \frac{\Sigma d_k}{\sqrt{d_k^T \Sigma d_k}}.

Of codes that do not hang together, :math:`\Sigma = I`, that is the step along :math:`d_k` of Preechakul et al.
(2022, section 4.2), s deviations of each number on the whole. Of others :math:`d_k` itself leads astray: most of
it lies where codes hardly differ, so that the logit leaps and the image stays as it was (Haufe et al. 2014 tell
the two apart). Along :math:`\Sigma d_k` the lead grows by :math:`s \sqrt{L}` of its own deviations.
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
from unstir.processes import summed

if TYPE_CHECKING:
    from unstir.models.diffae_config import LinearReaderConfig


class LinearReader(Model):
    """Reads codes of a codec as one of K classes."""

    config: LinearReaderConfig

    def __init__(self, config: LinearReaderConfig, parts: Mapping[str, Model]) -> None:
        super().__init__(config, parts)
        width = math.prod(config.code)
        self.head = nn.Linear(width, len(config.labels))
        self.batches = nn.Buffer(torch.zeros(()))
        self.mean, self.square = nn.Buffer(torch.zeros(width)), nn.Buffer(torch.eye(width))

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
        if self.training:
            self._observe(batch["z"].flatten(1).float())
        logits, label = self.logits(batch["z"]), batch["label"]
        loss = functional.cross_entropy(logits, label, reduction="none")
        return {"loss": loss, "error": (logits.argmax(1) != label).float()}

    def logits(self, codes: Tensor) -> Tensor:
        """Return log p(c | z) but for a constant, (B, K) float32, of codes (B, ...)."""
        # Where codes differ by little the weights are large: 16 bits would be too few.
        with torch.autocast(codes.device.type, enabled=False):
            return self.head(codes.flatten(1).float())

    @property
    def covariance(self) -> Tensor:
        """The codes' covariance over training, (L, L)."""
        return self.square - torch.outer(self.mean, self.mean)

    @torch.no_grad()
    def _observe(self, z: Tensor) -> None:
        """Take codes (B, L) into the means over all batches so far; each process has a share of one."""
        self.batches += 1
        z = torch.cat([z, z.new_ones(len(z), 1)], dim=1)
        sums = summed(z.T @ z)  # of products, in the last row of the codes, in its last place how many
        self.mean.lerp_(sums[-1, :-1] / sums[-1, -1], 1 / self.batches)
        self.square.lerp_(sums[:-1, :-1] / sums[-1, -1], 1 / self.batches)

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
        lead = weights[k] - others
        step = self.covariance @ lead
        return (by * math.sqrt(len(step)) * step / (lead @ step).sqrt()).reshape(self.config.code)
