"""A small convolutional classifier of clean images: the ruler for samples of a labelled set.

Its class probabilities say whether a sample shows the label that it was asked for; its penultimate features are
where the Fréchet distance is taken (:mod:`unstir.evaluation.measure`).

The body halves the image until its shorter side is at most 8 pixels, with two 3x3 convolutions at each size, and
averages over the positions that are left, so images of any size and any number of channels are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.models.model import Batch, Examples, Model, check_shape

if TYPE_CHECKING:
    from unstir.models.systems import ClassifierConfig


class Classifier(Model):
    """Reads images (B, C, H, W), float32 in [-1, 1], as one of K classes."""

    config: ClassifierConfig

    def __init__(self, config: ClassifierConfig, parts: Mapping[str, Model]) -> None:
        super().__init__(config, parts)
        channels, *sides = config.samples.shape
        side = min(sides)
        halvings = max(2, math.ceil(math.log2(side / 8)))
        layers = []
        for stage in range(halvings):
            stride = 1 if stage == 0 and side <= 16 else 2
            width = 64 if stage == 0 else 128
            layers += [convolution(channels, width, stride), convolution(width, width)]
            channels = width
        self.body = nn.Sequential(*layers, convolution(channels, config.features))
        self.head = nn.Linear(config.features, len(config.labels))

    def prepare(self, examples: Examples, generator: torch.Generator) -> Batch:
        """Move each image by whole pixels, in training."""
        x, told = examples
        return Batch(x=shifted(x, generator) if self.training else x, label=told["label"])

    def losses(self, turn: str, batch: Batch, average: Model) -> dict[str, Tensor]:
        """Return the cross-entropy."""
        logits = self.head(self.features(batch["x"])).float()
        return {"loss": functional.cross_entropy(logits, batch["label"], reduction="none")}

    def features(self, x: Tensor) -> Tensor:
        """Return the penultimate features, (B, F) float32, at least 0, of images (B, C, H, W) in [-1, 1]."""
        return self.body(x.contiguous(memory_format=torch.channels_last)).float().mean(dim=(2, 3))

    def layers(self, x: Tensor) -> Iterator[Tensor]:
        """Yield what each layer of the body makes of images (B, C, H, W) in [-1, 1], (B, C_l, H_l, W_l)."""
        for layer in self.body:
            x = layer(x)
            yield x

    @torch.no_grad()
    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (N, F) and class probabilities (N, K) of images (N, C, H, W) in [-1, 1], on the CPU.

        Both are float64; the images are read in float32 everywhere, 500 at a time.

        Raises:
            InputError: If the images are of another shape than those it was trained on.
        """
        check_shape(self, images)
        features = torch.cat([self.features(x.to(self.device)) for x in images.split(500)])
        probabilities = self.head(features).double().softmax(dim=1)
        return features.double().cpu(), probabilities.cpu()

    def embed(self, images: Tensor) -> Tensor:
        """Return the features (N, F), float64, of images (N, C, H, W) in [-1, 1]."""
        return self.read(images)[0]

    def classify(self, images: Tensor) -> Tensor:
        """Return the class probabilities (N, K), float64, of images (N, C, H, W) in [-1, 1]."""
        return self.read(images)[1]


def shifted(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return each image (B, C, H, W) moved by whole pixels, up to a twelfth of a side, its edges repeated."""
    places = []
    for side in x.shape[2:]:
        reach = round(side / 12)
        shift = torch.randint(-reach, reach + 1, (len(x), 1), generator=generator)
        places.append((torch.arange(side) + shift).clamp(0, side - 1))
    rows, columns = places
    image = torch.arange(len(x))[:, None, None]
    return x.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution with batch norm and ReLU, which keeps the size, or with stride 2 halves it."""
    kernel = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(kernel, nn.BatchNorm2d(outputs), nn.ReLU())
