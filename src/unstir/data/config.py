"""What to train on, and how its images are brought to one shape."""

from __future__ import annotations

from os import fspath
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from unstir.config import Fraction, Number, Part, Positive
from unstir.ground import check_ground

Fit = Literal["crop", "pad"]
Ground = Annotated[str, BeforeValidator(check_ground)]
DegradationName = Literal["colorization", "inpainting", "uncropping", "jpeg", "super-resolution"]


def _square(size: object) -> object:
    return (size, size) if isinstance(size, int) and not isinstance(size, bool) else size


def _text(source: object) -> object:
    return fspath(source) if hasattr(source, "__fspath__") else source


class DataConfig(Part):
    """The images of a run. Checked when made; whether the source exists is for `unstir.data.sources.find`.

    Attributes:
        source: a known name (``digits``, ``mnist``, ...), a folder of images or of parquet files, or an ``.npy``
            or ``.npz`` file. A known name wins over a folder called the same; ``./mnist`` is the folder.
        size: (height, width) in pixels, to which an image is resized, antialiased and in one pass. One number
            makes a square. None: as they are; all must agree.
        fit: how an image of other proportions gets this size: ``crop``, it just covers it, and its centre is cut
            out; or ``pad``, whole, with the ground beside it, or where transparency is kept what is clear.
        channels: 1 (luma), 3 (transparency over the ground) or 4 (transparency kept). None: 1 if every image is
            stored as gray, otherwise 3; arrays keep the channels they have.
        ground: what is seen through transparent pixels: ``white``, ``black``, ``checker`` (squares of two grays)
            or a colour ``#rrggbb``, of gray images its luma. Where transparency is kept, the colour of what is
            clear.
        flip: whether training mirrors images left-right at random; samples are mirrored then as often.
        augment: how probably each change is made to a training image of which the model is told, as
            ``augmentation`` (:mod:`unstir.data.augmentation`); 0 for none, and otherwise half are mirrored too.
        degradations: the ways in which a model is told each image degraded, one of them at a time
            (:mod:`unstir.data.degradations`). If there are any, the images have two columns more: the picture
            ``degraded``, and the classes ``task``, which of these it is.
        corrupt_limit: how many unreadable images may be skipped before it is an error.
    """

    source: Annotated[str, BeforeValidator(_text), Field(min_length=1)]
    size: Annotated[tuple[Positive, Positive] | None, BeforeValidator(_square)] = None
    fit: Fit = "crop"
    channels: Literal[1, 3, 4] | None = None
    ground: Ground = "white"
    flip: bool = False
    augment: Fraction = 0.0
    degradations: tuple[DegradationName, ...] = ()
    corrupt_limit: Annotated[int, Number, Field(ge=0, le=10**9)] = 10

    @model_validator(mode="after")
    def _degradations_fit(self) -> DataConfig:
        if len({*self.degradations}) < len(self.degradations):
            raise ValueError("degradations names one of them twice")
        if "colorization" in self.degradations and self.channels in (1, 4):
            raise ValueError(f"colorization needs images of 3 channels, and channels is {self.channels}")
        return self
