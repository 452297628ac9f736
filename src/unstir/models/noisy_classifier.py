r"""A classifier of noised images, whose gradient guides another model's drawing (Dhariwal and Nichol 2021).

It learns log p(c | x_t) at every level of a schedule, told the time, by the cross-entropy

.. math:: L = E_{t, \epsilon} \left[-\log p(c | \alpha_t x_0 + \sigma_t \epsilon, t)\right]

A classifier of clean images would not do: it has seen nothing like the noise in which drawing begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.diffusion import Denoise, NoiseLevel
from unstir.diffusion.schedule_change import as_known
from unstir.diffusion.times import stratified, uniform
from unstir.errors import InputError
from unstir.models.classifier import shifted
from unstir.models.config import Label, label_indices
from unstir.models.denoiser import levels_at
from unstir.models.model import Batch, Examples, Model, check_shape
from unstir.sampling.draw import Guide
from unstir.sampling.guidance import by_classifier

if TYPE_CHECKING:
    from unstir.models.systems import NoisyClassifierConfig


BATCH = 500
"""Images, read together."""


class NoisyClassifier(Model):
    """Reads noised images (B, C, H, W) as one of K classes."""

    config: NoisyClassifierConfig

    def __init__(self, config: NoisyClassifierConfig, parts: Mapping[str, Model]) -> None:
        super().__init__(config, parts)
        self.schedule = config.schedule.build()
        self.network = config.network.build(config.samples.shape)  # type: ignore[arg-type]
        self.head = nn.Linear(config.network.features, len(config.labels))

    def prepare(self, examples: Examples, generator: torch.Generator) -> Batch:
        """Draw each image's level and noise, stratified; in training move it by whole pixels first."""
        x0, told = examples
        x0 = shifted(x0, generator) if self.training else x0
        level = levels_at(self.schedule, uniform(self.schedule, stratified(len(x0), generator)))
        eps = torch.randn(x0.shape, generator=generator)
        return Batch(x=level.noise(x0, eps), level=level, label=told["label"])

    def losses(self, turn: str, batch: Batch, average: Model) -> dict[str, Tensor]:
        """Return the cross-entropy, and beside it whether the class is misread: 1 or 0."""
        logits, label = self.logits(batch["x"], batch["level"]), batch["label"]
        loss = functional.cross_entropy(logits, label, reduction="none")
        return {"loss": loss, "error": (logits.argmax(1) != label).float()}

    def logits(self, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return log p(c | x) but for a constant, (B, K) float32, at a level of the classifier's own schedule."""
        # As a denoiser's network, the body sees images of about unit size, also where the noise explodes.
        alpha, sigma = level.coefficients(x)
        t = level.t.to(x.device, torch.float32).expand(len(x))
        features = self.network(x / (alpha**2 + sigma**2).sqrt(), t)
        return self.head(functional.silu(features)).float()

    def log_probabilities(self, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return log p(c | x), (B, K) float32, of images ``x`` (B, C, H, W) at a level of any schedule.

        They are read in float32, at the level of the classifier's own schedule of the same log-SNR. Gradients flow
        to ``x`` where they are on.
        """
        known, scale = as_known(x, level, self.schedule)
        with torch.autocast(x.device.type, enabled=False):
            return self.logits((scale * x).float(), known).log_softmax(1)

    @torch.no_grad()
    def classify(self, images: Tensor, level: NoiseLevel | float = 0.0) -> Tensor:
        """Return the class probabilities, (N, K) float64 on the CPU, of images (N, C, H, W).

        Args:
            images: At ``level``, float32.
            level: Of any schedule; or a number, the standard deviation of the Gaussian noise on images in [-1, 1]
                whose own scale is as it was. 0 is clean images.

        Raises:
            InputError: If the images are of another shape than those it was trained on, or the noise is less
                than none.
        """
        check_shape(self, images)
        if not len(images):
            return torch.zeros(0, len(self.config.labels), dtype=torch.float64)
        if not isinstance(level, NoiseLevel):
            if not level >= 0:
                raise InputError(f"The standard deviation of noise is at least 0, not {level}")
            level = NoiseLevel(0.0, 1.0, level)
        each = NoiseLevel(*(value.expand(len(images)) for value in (level.t, level.alpha, level.sigma)))
        rows = [slice(first, first + BATCH) for first in range(0, len(images), BATCH)]
        read = [self.log_probabilities(images[part].to(self.device), each[part]) for part in rows]
        return torch.cat(read).double().softmax(1).cpu()

    def guide(self, label: Tensor | Label, scale: float = 1.0) -> Guide:
        r"""Return what guides towards a label: predictions get the drift :math:`s \nabla_x \log p(c | x)`.

        Args:
            label: One for all images, by name or number; or a class for each of a batch, int64 (B,).
            scale: s, at least 0; 1 is Bayes' rule.

        Raises:
            InputError: For a label that the classifier does not know.
        """
        if not isinstance(label, Tensor):
            label = torch.tensor(label_indices(self.config.labels, label, [0]))
        elif len(label) and not 0 <= int(label.min()) <= int(label.max()) < len(self.config.labels):
            raise InputError(f"The classifier knows {len(self.config.labels)} classes, from 0 on")
        wanted = label.to(self.device)

        def log_probability(x: Tensor, level: NoiseLevel) -> Tensor:
            return self.log_probabilities(x, level).gather(1, wanted.expand(len(x))[:, None])[:, 0]

        def guided(denoise: Denoise) -> Denoise:
            return by_classifier(denoise, log_probability, scale)

        return guided
