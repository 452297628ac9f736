"""A reader of scenes: at each of some places of a picture it answers the same questions about what lies there.

A convolutional body halves the image until it is a grid of about 8 by 8 features, each of which has seen a window
of most of the image. At each place the features around it are averaged, and one linear head a question, the same
for all places, answers; a head for the whole picture has the average of all. The first question is what is there,
and its first answer that nothing is; then the others have no answer there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.errors import InputError
from unstir.models.classifier import convolution, shifted
from unstir.models.model import Batch, Examples, Model

if TYPE_CHECKING:
    from unstir.models.systems import SceneReaderConfig

NOTHING = -1
"""The answer to a question about what is not there."""


class SceneReader(Model):
    """Reads images (B, 3, H, W), float32 in [-1, 1], as answers int64 (B, P Q + 1).

    Those to the Q questions at the first place come first, then those at the others; the last is about the whole.
    """

    config: SceneReaderConfig

    def __init__(self, config: SceneReaderConfig, parts: Mapping[str, Model]) -> None:
        super().__init__(config, parts)
        channels, *sides = config.samples.shape
        layers, width = [], 32
        for _ in range(max(1, round(math.log2(min(sides) / 8)))):
            layers += [convolution(channels, width, 2), convolution(width, width)]
            channels, width = width, 64
        self.body = nn.Sequential(*layers, convolution(channels, config.features))
        self.heads = nn.ModuleList(nn.Linear(config.features, len(one)) for one in config.questions.values())
        self.whole = nn.Linear(config.features, len(config.whole))

    def prepare(self, examples: Examples, generator: torch.Generator) -> Batch:
        """Move each image by whole pixels, in training."""
        x, told = examples
        return Batch(
            x=shifted(x, generator) if self.training else x, answers=torch.as_tensor(told["answers"]).long()
        )

    def losses(self, turn: str, batch: Batch, average: Model) -> dict[str, Tensor]:
        """Return the sum of the cross-entropies of all answers, the missing ones left out."""
        at_places, whole = self.logits(batch["x"])
        *answers, about_all = batch["answers"].split([len(self.heads)] * len(self.config.places) + [1], dim=1)
        loss = functional.cross_entropy(whole, about_all[:, 0], reduction="none")
        asked = torch.stack(answers, dim=1)
        for number, logits in enumerate(at_places):
            right = asked[:, :, number]
            loss = loss + functional.cross_entropy(
                logits.transpose(1, 2), right, reduction="none", ignore_index=NOTHING
            ).sum(1)
        return {"loss": loss}

    def logits(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return for each question the logits (B, P, K) of its answers at the places, and those of the whole."""
        features = self.body(x.contiguous(memory_format=torch.channels_last))
        height, width = features.shape[2:]
        around = []
        for across, down in self.config.places.values():
            row, column = round(down * height), round(across * width)
            around.append(
                features[:, :, max(row - 1, 0) : row + 1, max(column - 1, 0) : column + 1].float().mean(dim=(2, 3))
            )
        at_places = torch.stack(around, dim=1)
        return [head(at_places).float() for head in self.heads], self.whole(
            features.float().mean(dim=(2, 3))
        ).float()

    @torch.no_grad()
    def read(self, images: Tensor) -> Tensor:
        """Return the likeliest answers, int64 (N, P Q + 1) on the CPU, of images (N, 3, H, W) in [-1, 1].

        Images of another size are ``averaged`` to that of its training.

        Raises:
            InputError: If the images have other channels than those it was trained on.
        """
        channels, *size = self.config.samples.shape
        if images.ndim != 4 or images.shape[1] != channels:
            raise InputError(
                f"Scenes are read in images (N, {channels}, H, W), and these are {tuple(images.shape)}"
            )
        return torch.cat([self._answers(x.to(self.device), size) for x in images.split(500)]).cpu()

    def _answers(self, x: Tensor, size: list[int]) -> Tensor:
        at_places, whole = self.logits(averaged(x, size))
        answers = torch.stack([logits.argmax(2) for logits in at_places], dim=2)
        answers[:, :, 1:][answers[:, :, 0] == 0] = NOTHING
        return torch.cat([answers.flatten(1), whole.argmax(1, keepdim=True)], dim=1)


def averaged(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return images (B, C, H, W) as of another size (H', W'): each pixel the mean over the area that it covers."""

    def overlaps(side: int, wanted: int) -> Tensor:
        """How much of each of the wanted pixels lies in each that there is, (wanted, side), rows of sum 1."""
        ends = torch.arange(wanted + 1, dtype=torch.float64) * side / wanted
        pixels = torch.arange(side, dtype=torch.float64)
        ends = (ends[:, None] - pixels).clamp(0, 1)  # how much of each pixel lies before each end
        return (ends.diff(dim=0) * wanted / side).to(x)

    rows, columns = (overlaps(side, wanted) for side, wanted in zip(x.shape[2:], size))
    return rows @ x @ columns.T
