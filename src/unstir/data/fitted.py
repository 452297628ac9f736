"""What becomes of images on their way to one shape, counted: cut off, enlarged, clear.

An image of h by w pixels that covers H by W is scaled by s = max(H/h, W/w), and the crop keeps
HW / (s^2 hw) = min(H/h, W/w) / max(H/h, W/w) of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from unstir.data.config import DataConfig
from unstir.data.decode import Decoded
from unstir.errors import InputError, counted

LOST, ENLARGED = 0.25, 1.25
"""More than which part of an image must be cut off, and more than by which factor it must grow, to be counted."""


@dataclass
class Fitted:
    """Counts what becomes of images.

    Args:
        config: What they are brought to.
    """

    config: DataConfig
    images: int = 0
    cut: int = 0
    enlarged: int = 0
    clear: int = 0

    def add(self, image: Decoded) -> None:
        """Count an image."""
        self.images += 1
        self.clear += self.config.channels == 4 and bool((image.pixels[3] < 255).any())
        if self.config.size:
            least, most = sorted(side / own for side, own in zip(self.config.size, image.own, strict=True))
            crops = self.config.fit == "crop"
            self.cut += crops and least < (1 - LOST) * most
            self.enlarged += (most if crops else least) > ENLARGED

    def check(self) -> None:
        """Check that transparency that is to be kept is there.

        Raises:
            InputError: If not.
        """
        if self.config.channels == 4 and not self.clear:
            raise InputError(
                f"no image of '{self.config.source}' is transparent anywhere, and data.channels=4 keeps "
                "transparency: leave it out, or set it to 3."
            )

    def notes(self) -> list[str]:
        """What is worth saying of them, in half a sentence each."""
        of, said = f"of {counted(self.images, 'image')}", []
        if self.cut:
            said.append(
                f"the crop takes more than a quarter from {self.cut:,} {of}, which --set data.fit=pad leaves whole"
            )
        if self.config.size and self.enlarged:
            height, width = self.config.size
            said.append(f"enlarging {self.enlarged:,} {of} to {width}x{height} pixels adds no detail")
        return said
