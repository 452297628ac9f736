"""What images are told, written along the edges of their grid. No torch.

The values told across, if any, stand above the columns and those told down beside the rows, which are as wide and
as high as the writing needs; the rows of one value down are set apart from the next. A text that stays too long is
cut.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import accumulate
from math import ceil
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from unstir.models import layout
from unstir.models.table import Table
from unstir.models.turns import Turns
from unstir.models.written import Written

LETTERS, LINES = 12, 3
"""How long a line may become, in heights of a letter, if no image is wider; and how many a text has at most."""

_MARGIN, _APART = 4, 8
"""Pixels around a text, and between the rows of two values told down, if there are several of each."""


@dataclass(frozen=True)
class _Block:
    """A text in lines, with its size in pixels."""

    text: str
    width: int
    height: int


class Headings:
    """The writing around the grid of a table, and where the images lie.

    Args:
        table: What the images are told; something across or down.
        height: Of one image, in pixels, before it is enlarged.
        width: Of one image.

    Attributes:
        size: The width and height in pixels of the whole picture.
    """

    def __init__(self, table: Table | Turns, height: int, width: int) -> None:
        factor, pad = layout.enlarged(height, width), layout.PADDING
        self._tile = width * factor, height * factor
        self._em = max(13, round(max(self._tile) / 18))
        self._font = _font(self._em)
        self._table = table
        longest = LETTERS * self._em
        words = [word for text in _texts(table.across) for word in text.split()]
        widest = max([self._tile[0], *(min(longest, ceil(self._font.getlength(word))) for word in words)])
        self._above = [self._block(text, widest) for text in _texts(table.across)]
        self._beside = [self._block(text, longest) for text in _texts(table.down)]
        self._names = [self._block(axis.name if axis else "", longest) for axis in (table.across, table.down)]
        each = table.each
        apart = _APART if each > 1 and table.down else 0
        column = max([self._tile[0] + pad, *(block.width for block in self._above)])
        row = max([self._tile[1] + pad, *(-(-block.height // each) for block in self._beside)])
        left = max(block.width for block in [*self._beside, self._names[1]]) if table.down else 0
        self._top = pad
        if self._above:
            self._top = self._names[0].height - 2 * _MARGIN + max(block.height for block in self._above)
        self._left = left + pad
        self._xs = [self._left + column * i for i in range(table.columns)]
        gaps = [row + (apart if i % each == each - 1 else 0) for i in range(table.groups * each)]
        self._ys = [self._top + y for y in accumulate(gaps, initial=0)][:-1]
        self._cell = column, row
        name = left + self._names[0].width
        self.size = max(self._xs[-1] + column, name) + pad, self._ys[-1] + row + pad

    def around(self, grid: Image.Image) -> Image.Image:
        """Return a grid as :meth:`unstir.models.samples.Samples.grid` makes it, laid out anew with the writing."""
        whole = Image.new(grid.mode, self.size, "white")
        draw = ImageDraw.Draw(whole)
        (wide, high), pad = self._tile, layout.padding(len(self._ys) * len(self._xs))
        for i, top in enumerate(self._ys):
            for j, left in enumerate(self._xs):
                x, y = pad + j * (wide + pad), pad + i * (high + pad)
                x0, y0 = left + (self._cell[0] - wide) // 2, top + (self._cell[1] - high) // 2
                whole.paste(grid.crop((x, y, x + wide, y + high)), (x0, y0))
        bottom, each = self._top - _MARGIN, self._table.each
        self._write(draw, self._names[0], (self._xs[0] + _MARGIN, _MARGIN), "la", "dimgray")
        for left, block in zip(self._xs, self._above):
            self._write(draw, block, (left + self._cell[0] / 2, bottom), "md", "black")
        if self._table.down:
            self._write(draw, self._names[1], (_MARGIN, bottom), "ld", "dimgray")
        for i, block in enumerate(self._beside):
            first, last = self._ys[i * each], self._ys[i * each + each - 1]
            middle = (first + last + self._cell[1]) / 2
            self._write(draw, block, (self._left - _MARGIN, middle), "rm", "black")
        return whole

    def _write(
        self, draw: ImageDraw.ImageDraw, block: _Block, place: tuple[float, float], anchor: str, ink: str
    ) -> None:
        align = {"l": "left", "m": "center", "r": "right"}[anchor[0]]
        draw.multiline_text(place, block.text, font=self._font, fill=ink, anchor=anchor, align=align, spacing=2)

    def _block(self, text: str, longest: int) -> _Block:
        """Return a text in lines, of words as many as go into ``longest`` pixels."""
        lines = [""]
        for word in text.split():
            line = f"{lines[-1]} {word}".strip()
            if self._font.getlength(line) <= longest or not lines[-1]:
                lines[-1] = line
            else:
                lines.append(word)
        if len(lines) > LINES:
            lines[LINES - 1 :] = [" ".join(lines[LINES - 1 :])]
        lines = [self._cut(line, longest) for line in lines]
        width = max(ceil(self._font.getlength(line)) for line in lines) + 2 * _MARGIN
        return _Block("\n".join(lines), width, len(lines) * (round(1.2 * self._em) + 2) + 2 * _MARGIN)

    def _cut(self, line: str, longest: int) -> str:
        """Return a line without its end, if it is too long."""
        if self._font.getlength(line) <= longest:
            return line
        line = line[:200]
        while line and self._font.getlength(f"{line}...") > longest:
            line = line[:-1]
        return f"{line}..."


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return matplotlib's font, which has Greek and Cyrillic too, or else Pillow's, which has not even accents."""
    there = find_spec("matplotlib")  # whose import takes a second
    if there and there.origin:
        with suppress(OSError):
            return ImageFont.truetype(Path(there.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf", size)
    return ImageFont.load_default(size)


def _texts(axis: Written | None) -> tuple[str, ...]:
    return () if axis is None else axis.texts
