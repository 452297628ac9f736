"""What a network is told about each image, as a part of the configuration; without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from unstir.config import Fraction, Part

Socket = Literal["vector", "tokens", "image"]

_USUAL: dict[str, Socket] = {
    "classes": "vector",
    "numbers": "vector",
    "embedding": "vector",
    "picture": "image",
    "text": "tokens",
}


DEGRADED, TASK = "degraded", "task"
"""The columns of a model that is told a degraded picture, and what it is to do with it."""

AUGMENTATION = "augmentation"
"""The column of a model that is told how an image was altered; of one that was not it is hidden."""

FACTS = ("classes", "width", "length", "mean", "std", "hash")
"""What the data fills in of what is told."""


class Told(Part):
    """One named part of what is told: what it is, which socket of the network it enters, how often it is hidden.

    The values are int64 (B,) for ``classes``, float (B, width) for ``numbers`` and for an ``embedding``, which in
    the socket ``tokens`` may be (B, L, width) too, and float (B, width, H, W) in [-1, 1] for a ``picture``.
    A ``text`` is told as a frozen encoder reads it: in the socket ``tokens`` as float (B, L, width), a row for
    each token and zeros behind the last, otherwise as float (B, width). Where all are zeros there is no text.
    """

    kind: Literal["classes", "numbers", "embedding", "picture", "text"]
    socket: Socket | None = None
    """None is the kind's usual one: ``image`` for a picture, ``tokens`` for a text, else ``vector``."""
    of: str | None = None
    """The frozen part that makes it of the image by its verb ``embed``; None: it is a column of the data."""
    column: str | None = None
    """The column of the data, if it is called otherwise: one may be told in two ways, under two names."""
    encoder: str = ""
    """What reads a text: ``minilm``, a model on huggingface.co by its id, or a folder."""
    dropout: Fraction = 0.0
    """How often it is hidden in training, by which the network learns to do without it; guidance needs that."""
    classes: tuple[str, ...] = ()
    """The classes' names; like the values below a fact of the data, which fills it in."""
    width: Annotated[int, Field(ge=0, le=10**9)] = 0
    """How many numbers, the embedding's width, or the picture's channels."""
    length: Annotated[int, Field(ge=0, le=10**9)] = 0
    """Of a sequence of embeddings, or how many tokens a text is told by; 0 for one embedding."""
    mean: tuple[float, ...] = ()
    """Of each number; numbers are told as they lie about it, in units of ``std``."""
    std: tuple[Annotated[float, Field(gt=0)], ...] = ()
    hash: str = ""
    """Of the encoder's weights and vocabulary."""

    @model_validator(mode="after")
    def _fits(self) -> Told:
        if self.kind == "picture" and self.enters != "image":
            raise ValueError(f"a picture cannot enter the socket {self.enters}, only image")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values and len(values) != self.width:
                raise ValueError(
                    f"{name} has {len(values)} values for {self.width} numbers: it needs one for each"
                )
        if self.length and self.enters != "tokens":
            raise ValueError("a sequence of embeddings enters the socket tokens alone: set its socket to tokens")
        if self.of is not None and self.kind != "embedding":
            raise ValueError(f"what a part makes of the image is told as an embedding, not as {self.kind}")
        if self.of is not None and self.column is not None:
            raise ValueError(
                "what a part makes of the image is no column of the data: set one of the two, of or column"
            )
        if (self.kind == "text") != bool(self.encoder):
            raise ValueError(
                "a text needs an encoder, such as minilm" if self.kind == "text" else "only a text has an encoder"
            )
        return self

    @property
    def enters(self) -> Socket:
        """The socket it enters."""
        return self.socket or _USUAL[self.kind]

    @property
    def shapes(self) -> tuple[tuple[int | str, ...], ...]:
        """The shapes that a value may have for each image; letters stand for any length."""
        if self.kind == "picture":
            return ((self.width, "H", "W"),)
        if self.kind == "classes":
            return ((),)
        if self.kind == "text":
            return (("L", self.width),) if self.enters == "tokens" else ((self.width,),)
        sequence = self.kind == "embedding" and self.enters == "tokens"
        return ((self.width,), ("L", self.width)) if sequence else ((self.width,),)
