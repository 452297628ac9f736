"""What was drawn, and the ways to save it, all at once or as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unstir.errors import InputError
from unstir.files import whole_file


@dataclass(frozen=True)
class Samples:
    """Samples with what they were drawn as; the ways to save them are for images.

    Attributes:
        tensor: float32 (N, ...), images (N, C, H, W) in [-1, 1].
        labels: int64 (N,), or None.
        classes: The names of the classes.
        indices: Which of all that are drawn they are; None: the first.
    """

    tensor: Tensor
    labels: Tensor | None = None
    classes: Sequence[str] = ()
    indices: Sequence[int] | None = None

    @staticmethod
    def joined(parts: Iterable[Samples]) -> Samples:
        """Return the samples of a stream together."""
        every = list(parts)
        labels = None if every[0].labels is None else torch.cat([part.labels for part in every])  # type: ignore[misc]
        return Samples(torch.cat([part.tensor for part in every]), labels, every[0].classes)

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.tensor)

    def bytes(self) -> Tensor:
        """Return uint8 (N, C, H, W): pixel p in [-1, 1] becomes (p + 1) * 127.5, rounded."""
        return ((self.tensor + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)

    def save(self, path: str | Path) -> Path:
        """Save the images and return the path; each file is written whole or not at all.

        Args:
            path: ``x.png`` (or another picture format) for a grid, ``x.npz`` for uint8 NHWC as ``arr_0`` with
                the labels as ``arr_1``, or a folder for one PNG each.

        Raises:
            InputError: If the ending is unknown, takes no such images, or the path cannot be written.
        """
        folder = str(path).endswith("/") or not Path(path).suffix
        path = Path(path)
        if folder:
            width = len(str(len(self) - 1))
            for i, image in enumerate(self.bytes()):
                label = "" if self.labels is None else f"-{self._name(i)}"
                with whole_file(path / f"{i:0{width}d}{label}.png") as partial:
                    _picture(image).save(partial)
        elif path.suffix == ".npz":
            labels = [] if self.labels is None else [self.labels.numpy()]
            with whole_file(path) as partial:
                np.savez(partial, self.bytes().permute(0, 2, 3, 1).numpy(), *labels)
        elif Image.registered_extensions().get(path.suffix.lower()) in Image.SAVE:
            with whole_file(path) as partial:
                self.grid().save(partial)
        else:
            raise InputError(f"{path} could not be written: no picture ends in {path.suffix}")
        return path

    def picture(self, i: int) -> Image.Image:
        """Return image ``i`` as a picture, pixel for pixel."""
        return _picture(self.bytes()[i])

    def grid(self, columns: int | None = None) -> Image.Image:
        """Return one picture of all images.

        Args:
            columns: How many; None is one for each class if they were drawn in turn, and else a square.
        """
        from torchvision.utils import make_grid

        in_turn = self.labels is not None and torch.equal(
            self.labels, torch.arange(len(self)) % max(1, len(self.classes))
        )
        if columns is None:
            columns = len(self.classes) if in_turn and 1 < len(self.classes) <= 20 else round(len(self) ** 0.5)
        images = self.bytes()
        # Small images are enlarged by a whole factor, so that a person can see them.
        factor = max(1, round(64 / max(images.shape[-2:])))
        images = images.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
        return _picture(make_grid(images, nrow=max(1, columns), padding=2, pad_value=255))

    def _name(self, i: int) -> str:
        assert self.labels is not None
        return "".join(c if c.isalnum() or c in "-_" else "_" for c in self.classes[int(self.labels[i])])


def _picture(image: Tensor) -> Image.Image:
    """Return uint8 (C, H, W) as a PIL image: gray, RGB or RGBA; of other numbers of channels, the first three."""
    channels = len(image)
    if channels in (1, 2):
        return Image.fromarray(image[0].numpy(), mode=None)
    shown = image if channels in (3, 4) else image[:3]
    return Image.fromarray(np.ascontiguousarray(shown.permute(1, 2, 0).numpy()))
