"""From what is told by name to the three sockets of a network.

Each part has an encoder of its own, with a learned null that takes the place of a hidden value. Several vectors
are added, several sequences of tokens are joined, and pictures become channels beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.diffusion import Condition, Sockets
from unstir.networks.told import Told

MAP_CHANNELS = 8
"""Channels of a label, numbers or an embedding that enters the socket ``image``, the same at each pixel."""


class Conditioner(nn.Module):
    """The encoders of what is told.

    Args:
        told: What is told, by name. Channels of the socket ``image`` and tokens come in this order.
        vector: Width of the network's socket ``vector``.
        tokens: Width of its socket ``tokens``.

    Attributes:
        image_channels: Channels that the socket ``image`` adds to the network's input.
    """

    def __init__(self, told: Mapping[str, Told], vector: int, tokens: int) -> None:
        super().__init__()
        widths = {"vector": vector, "tokens": tokens, "image": MAP_CHANNELS}
        self.told = dict(told)
        self.encoders = nn.ModuleDict()
        for name, part in told.items():
            # ModuleDict itself refuses the names of its methods, and data may well have a column called "type".
            self.encoders._modules[name] = _encoder(part, widths[part.enters])
        self.image_channels = sum(
            part.width if part.kind == "picture" else MAP_CHANNELS
            for part in told.values()
            if part.enters == "image"
        )

    def forward(self, condition: Condition | None, x: Tensor) -> Sockets:
        """Return the sockets for images ``x`` (B, C, H, W).

        Without a condition, or where a part is missing from it, that is hidden for all images: its null is told.
        A hidden or missing sequence of tokens is the null at each of its places. Parts that the network is not
        told are passed over.

        Raises:
            ValueError: If the condition is not of the batch of ``x``, or a sequence enters another socket than
                ``tokens``.
        """
        if condition is not None and condition.names and len(condition) != len(x):
            raise ValueError(f"a condition of {len(condition)} images cannot go with {len(x)}")
        vectors: list[Tensor] = []
        tokens: list[Tensor] = []
        images: list[Tensor] = []
        for name, part in self.told.items():
            given = None if condition is None else condition.parts.get(name)
            if given is not None:
                given = given[0].to(x.device), given[1].to(x.device)
            code = self.encoders[name](given, x)
            if part.enters == "tokens":
                tokens.append(code if code.dim() == 3 else code[:, None])
            elif code.dim() == 3:
                raise ValueError(f"{name} is a sequence, which enters the socket tokens only, not {part.enters}")
            elif part.enters == "vector":
                vectors.append(code)
            else:
                map_ = code if code.dim() == 4 else code[..., None, None].expand(-1, -1, *x.shape[-2:])
                images.append(map_.to(x.dtype))
        return Sockets(
            vector=torch.stack(vectors).sum(0) if len(vectors) > 1 else next(iter(vectors), None),
            tokens=torch.cat(tokens, dim=1) if tokens else None,
            image=torch.cat(images, dim=1) if images else None,
        )


class LabelEmbedding(nn.Module):
    """A learned vector for each class, and one more for a hidden label.

    Args:
        classes: How many classes there are.
        width: The vectors' width.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(classes + 1, width)

    def forward(self, given: tuple[Tensor, Tensor] | None, x: Tensor) -> Tensor:
        """Return (B, width) for int64 labels (B,) and their mask; without them, every label is hidden."""
        return self.table(label_index(given, x, self.table.num_embeddings - 1))


def label_index(given: tuple[Tensor, Tensor] | None, x: Tensor, classes: int) -> Tensor:
    """Return the int64 labels (B,), with ``classes`` where the label is hidden or missing."""
    if given is None:
        return torch.full((len(x),), classes, device=x.device)
    labels, hidden = given
    return labels.masked_fill(hidden, classes)


class FeatureEncoder(nn.Module):
    """Numbers or an embedding, encoded, and a learned null for a hidden one.

    Args:
        encode: From (..., D) to (..., width).
        width: Width of the code.
        mean: (D,), subtracted first; None for 0.
        std: (D,), by which is divided then; None for 1.
        length: Of a sequence, whose places have the null each where nothing is given; 0 for none.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        encode: nn.Module,
        width: int,
        mean: Tensor | None = None,
        std: Tensor | None = None,
        length: int = 0,
    ) -> None:
        super().__init__()
        self.length = (length,) if length else ()
        self.encode, self.null = encode, nn.Parameter(torch.randn(width))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, given: tuple[Tensor, Tensor] | None, x: Tensor) -> Tensor:
        """Return (B, width) or (B, L, width) for values (B, D) or (B, L, D) and their mask (B,)."""
        if given is None:
            return self.null.expand(len(x), *self.length, -1)
        value, hidden = given
        value = value.to(self.null.dtype)
        if self.mean is not None:
            value = value - self.mean
        if self.std is not None:
            value = value / self.std
        hidden = hidden.view(-1, *[1] * (value.dim() - 1))
        # Hidden values are zeroed too: a missing number that is NaN would reach the gradient of the weights.
        return torch.where(hidden, self.null, self.encode(value.masked_fill(hidden, 0)))


class TextEncoder(nn.Module):
    """A text as a frozen encoder reads it, brought to a width of the network's.

    Each row is standardized first, since encoders differ much in scale. A place behind the last token has a
    learned row of its own (as in GLIDE, Nichol et al. 2022), so that attention needs no mask; where there is no
    text at all it is hidden.

    Args:
        features: D, the encoder's width.
        width: Of the code.
        length: L of a text's tokens; 0 for a text that is one vector.
    """

    def __init__(self, features: int, width: int, length: int) -> None:
        super().__init__()
        self.features = FeatureEncoder(
            nn.Sequential(nn.LayerNorm(features, elementwise_affine=False), nn.Linear(features, width)),
            width,
            length=length,
        )
        self.padding = nn.Parameter(torch.randn(width)) if length else None

    def forward(self, given: tuple[Tensor, Tensor] | None, x: Tensor) -> Tensor:
        """Return (B, width) or (B, L, width) for values (B, D) or (B, L, D) and their mask (B,)."""
        if given is None:
            return self.features(None, x)
        value, hidden = given
        empty = (value == 0).all(-1)
        absent = empty if self.padding is None else empty.all(1)
        code = self.features((value, hidden | absent), x)
        if self.padding is None:
            return code
        padded = empty & ~(hidden | absent)[:, None]
        return torch.where(padded[..., None], self.padding, code)


class PictureEncoder(nn.Module):
    """A picture as it is, at the size of the images, and a learned colour for a hidden one.

    Args:
        channels: Channels of the picture.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.null = nn.Parameter(torch.zeros(channels))

    def forward(self, given: tuple[Tensor, Tensor] | None, x: Tensor) -> Tensor:
        """Return (B, C, H, W) with the H and W of ``x``, for pictures (B, C, h, w) and their mask (B,)."""
        null = self.null[:, None, None]
        if given is None:
            return null.expand(len(x), -1, *x.shape[-2:])
        picture, hidden = given[0].to(self.null.dtype), given[1]
        if picture.shape[-2:] != x.shape[-2:]:
            # Where it grows, antialiasing changes nothing.
            picture = functional.interpolate(picture, size=x.shape[-2:], mode="bilinear", antialias=True)
        return torch.where(hidden[:, None, None, None], null, picture)


def _encoder(told: Told, width: int) -> nn.Module:
    """Return the encoder of a part, to vectors or tokens of ``width``, or to a picture's own channels."""
    if told.kind == "classes":
        return LabelEmbedding(len(told.classes), width)
    if told.kind == "picture":
        return PictureEncoder(told.width)
    if told.kind == "text":
        return TextEncoder(told.width, width, told.length)
    if told.kind == "embedding":
        return FeatureEncoder(nn.Linear(told.width, width), width, length=told.length)
    encode = nn.Sequential(nn.Linear(told.width, width), nn.SiLU(), nn.Linear(width, width))
    mean, std = (torch.tensor(values) if values else None for values in (told.mean, told.std))
    return FeatureEncoder(encode, width, mean, std)
