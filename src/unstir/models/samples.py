"""What was drawn, and the ways to save it, all at once or as it comes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy
from PIL import Image
from torch import Tensor

from unstir.errors import InputError
from unstir.files import new_folder, whole_file, write_new
from unstir.ground import CHECKER, laid_over
from unstir.models import layout
from unstir.models.headings import Headings
from unstir.models.table import Table
from unstir.models.turns import turns


@dataclass(frozen=True)
class Samples:
    """Samples with what they were drawn as; the ways to save them are for images.

    Attributes:
        tensor: float32 (N, ...), images (N, C, H, W) in [-1, 1].
        labels: int64 (N,), or None.
        classes: The names of the classes.
        indices: Which of all that are drawn they are; None: the first.
        prompts: The text that each was drawn from; none if there was no prompt.
    """

    tensor: Tensor
    labels: Tensor | None = None
    classes: Sequence[str] = ()
    indices: Sequence[int] | None = None
    prompts: Sequence[str] = ()

    @staticmethod
    def joined(parts: Iterable[Samples]) -> Samples:
        """Return the samples of a stream together, by their indices."""
        every = list(parts)
        first = every[0]
        numbers = [i for part in every for i in part.numbers]
        order = sorted(range(len(numbers)), key=numbers.__getitem__)
        labels = None if first.labels is None else torch.cat([part.labels for part in every])[order]  # type: ignore[misc]
        tensor = torch.cat([part.tensor for part in every])[order]
        every_prompt = [prompt for part in every for prompt in part.prompts]
        prompts = [every_prompt[i] for i in order] if every_prompt else ()
        return Samples(tensor, labels, first.classes, sorted(numbers), prompts)

    @property
    def numbers(self) -> Sequence[int]:
        """The index of each sample."""
        return range(len(self)) if self.indices is None else self.indices

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.tensor)

    def bytes(self) -> Tensor:
        """Return uint8 (N, C, H, W): pixel p in [-1, 1] becomes (p + 1) * 127.5, rounded."""
        if not self.tensor.isfinite().all():
            raise InputError(
                "What was drawn is not made of numbers any more: ask for less guidance, for a sampler's own "
                "values, or for --clip static"
            )
        return ((self.tensor + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)

    def save(self, path: str | Path) -> Path:
        """Save the images and return the path; each file is written whole or not at all.

        Args:
            path: ``x.png`` (or another picture format) for a grid, transparent images over a checkerboard;
                ``x.npz`` for uint8 NHWC as ``arr_0`` with the labels as ``arr_1``, or a folder for one PNG each.

        Raises:
            InputError: If the ending is unknown, takes no such images, or the path cannot be written.
        """
        return write([self], path, len(self))

    def picture(self, i: int) -> Image.Image:
        """Return image ``i`` as a picture, pixel for pixel."""
        return _picture(self.bytes()[i])

    def grid(self, columns: int | None = None, ground: str = CHECKER) -> Image.Image:
        """Return one picture of all images.

        Args:
            columns: How many; None is about as many as rows, and then each of several classes that come in turn
                has rows of its own, with its name beside them.
            ground: What transparent images are laid over.
        """
        if columns is None and self.labels is not None and self.classes:
            rows = turns(self.labels.tolist(), self.classes)
            if rows is not None:
                place = torch.cat([self.tensor, torch.ones_like(self.tensor[:1])])[rows.order()]
                height, width = self.tensor.shape[-2:]
                return Headings(rows, height, width).around(Samples(place).grid(rows.columns, ground))
        if columns is None:
            columns = layout.columns(len(self))
        images = self.bytes()
        factor = layout.enlarged(*images.shape[-2:])
        images = images.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
        count, channels, height, width = images.shape
        across, pad = min(max(1, columns), count), layout.padding(count)
        down, high, wide = -(-count // across), height + pad, width + pad
        # Not torchvision's, whose import alone takes a second.
        whole = torch.full((channels, down * high + pad, across * wide + pad), 255, dtype=torch.uint8)
        for i, image in enumerate(images):
            y, x = i // across * high + pad, i % across * wide + pad
            whole[:, y : y + height, x : x + width] = image
        picture = _picture(whole)
        return laid_over(picture, ground) if picture.mode == "RGBA" else picture

    def name(self, i: int) -> str:
        """Return the prompt of sample ``i``, or its class, as a part of a file's name behind a dash, or ""."""
        if self.labels is None and not self.prompts:
            return ""
        said = self.prompts[i] if self.prompts else self.classes[int(self.labels[i])]  # type: ignore[index]
        return f"-{_safe(said)}"


def write(
    stream: Iterable[Samples],
    out: str | Path,
    count: int,
    new: bool = False,
    table: Table | None = None,
    ground: str = CHECKER,
) -> Path:
    """Save images as they come, and return where; each file is written whole or not at all.

    No more than what comes at once is held in memory, but for a grid.

    Args:
        stream: Images in the order of their indices, from 0 on.
        out: ``x.png`` (or another picture format) for a grid, ``x.npz`` for uint8 NHWC as ``arr_0`` with the
            labels as ``arr_1``, or a folder for one PNG each.
        count: How many there are in all.
        new: Whether to leave alone what is there: another name is taken then, such as ``x-2.png``.
        table: What they are told beside the label, which is then in the names of pictures in a folder, and along
            the edges of a grid.
        ground: What transparent images are laid over in a grid; elsewhere they stay transparent.

    Raises:
        InputError: If the ending is unknown, takes no such images, or the path cannot be written.
    """
    path = Path(out)
    encode: Callable[[Path], object]
    if str(out).endswith("/") or not path.suffix:
        with new_folder(path) if new else nullcontext(path) as folder:
            _write_pictures(stream, folder, count, table)
        return folder
    if path.suffix == ".npz":
        encode = partial(_write_npz, stream, count)
    elif Image.registered_extensions().get(path.suffix.lower()) in Image.SAVE:
        encode = _laid_out(Samples.joined(stream), table, ground).save
    else:
        raise InputError(f"{path} could not be written: no picture ends in {path.suffix}")
    if new:
        return write_new(path, encode)
    with whole_file(path) as whole:
        encode(whole)
    return path


def _laid_out(samples: Samples, table: Table | None, ground: str) -> Image.Image:
    if table is None or table.across is None:
        return samples.grid(ground=ground)
    height, width = samples.tensor.shape[-2:]
    return Headings(table, height, width).around(samples.grid(table.columns, ground))


def _write_pictures(stream: Iterable[Samples], folder: Path, count: int, table: Table | None) -> None:
    width = len(str(count - 1))
    for samples in stream:
        for i, (number, image) in enumerate(zip(samples.numbers, samples.bytes(), strict=True)):
            name = samples.name(i) + _safe(table.named(number) if table else "", "-_=.")
            short = name.encode()[:201].decode(errors="ignore")  # a file's name has at most 255 bytes
            with whole_file(folder / f"{number:0{width}d}{short}.png") as whole:
                _picture(image).save(whole)


def _write_npz(stream: Iterable[Samples], count: int, path: Path) -> None:
    """Write what numpy's ``savez`` would."""
    labels: list[Tensor] = []
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("arr_0.npy", "w", force_zip64=True) as file:
            for number, samples in enumerate(stream):
                pixels = samples.bytes().permute(0, 2, 3, 1).contiguous().numpy()
                if number == 0:
                    about = {"descr": "|u1", "fortran_order": False, "shape": (count, *pixels.shape[1:])}
                    npy.write_array_header_1_0(file, about)
                file.write(pixels.data)
                labels += [] if samples.labels is None else [samples.labels]
        if labels:
            with archive.open("arr_1.npy", "w") as file:
                npy.write_array(file, torch.cat(labels).numpy())


def _safe(text: str, signs: str = "-_") -> str:
    """Return a text as a part of a file's name: of letters, digits and these signs."""
    return "".join(c if c.isalnum() or c in signs else "_" for c in text)


def _picture(image: Tensor) -> Image.Image:
    """Return uint8 (C, H, W) as a PIL image: gray, RGB or RGBA; of other numbers of channels, the first three."""
    channels = len(image)
    if channels in (1, 2):
        return Image.fromarray(image[0].numpy(), mode=None)
    shown = image if channels in (3, 4) else image[:3]
    return Image.fromarray(np.ascontiguousarray(shown.permute(1, 2, 0).numpy()))
