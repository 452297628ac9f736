r"""What every backbone does: images in, features out, by a network that is never trained here.

.. math:: f = g(\mathrm{resize}(p)), \qquad p = \mathrm{round}(127.5\, (x + 1)) \in \{0, \dots, 255\}

Images are read as they would be saved, in 8 bits. How they are resized and scaled belongs to the backbone as much
as its weights do, so both are in its key: figures of two keys are of two rulers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.errors import InputError
from unstir.evaluation.backbones.names import CLASSIFIER, PIXELS
from unstir.processes import processes
from unstir.tensors import tensors_hash

BATCH = {"cpu": 8, "cuda": 64}
"""Images that a network reads at once. On a CPU eight of 224 pixels a side take half the time that fifty do, whose
first layers leave its caches."""


@dataclass(frozen=True)
class Seen:
    """What was read in N images; all of it on the CPU.

    Attributes:
        features: float64 (N, F).
        probabilities: Of classes, float64 (N, K), where the backbone knows any.
        spatial: What is where in the images, float64 (N, S), for sFID.
    """

    features: Tensor
    probabilities: Tensor | None = None
    spatial: Tensor | None = None


class Backbone(Protocol):
    """Reads images.

    Attributes:
        name: What it is called.
        key: A hash of its weights and of its preprocessing, for caches.
    """

    name: str
    key: str

    def read(self, images: Tensor) -> Seen:
        """Return what is read in images (N, C, H, W), float32 in [-1, 1].

        Raises:
            InputError: If it reads no images of so many channels.
        """
        ...


class NetworkBackbone:
    """A backbone of a frozen network that takes bytes.

    Args:
        name: What it is called.
        network: Its weights are hashed.
        preprocessing: How the network's images are made, in words; they are hashed too.
        see: Reads bytes, uint8 (B, 3, H, W) on the network's device.
    """

    def __init__(self, name: str, network: nn.Module, preprocessing: str, see: Callable[[Tensor], Seen]) -> None:
        self.name = name
        self.network = network.eval().requires_grad_(False)
        self.network.to(processes().device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.key = key(name, tensors_hash(network.state_dict()), preprocessing)
        self._see = see

    @torch.no_grad()
    def read(self, images: Tensor) -> Seen:
        """Return what is read in images (N, C, H, W), float32 in [-1, 1], C of 1, 3 or 4, see :func:`in_bytes`."""
        check_channels(self.name, images.shape[1])
        device = next(self.network.parameters()).device
        seen = [self._see(pixels.to(device)) for pixels in in_bytes(images).split(BATCH.get(device.type, 8))]
        return Seen(
            torch.cat([part.features for part in seen]).double().cpu(),
            _joined([part.probabilities for part in seen]),
            _joined([part.spatial for part in seen]),
        )


def key(*parts: str) -> str:
    """Return a hash of texts, 16 hexadecimal digits."""
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def check_channels(name: str, channels: int) -> None:
    """Raise an `InputError` if a backbone of colour images cannot read those of so many channels."""
    if channels not in (1, 3, 4) and name not in (CLASSIFIER, PIXELS):
        raise InputError(
            f"the backbone '{name}' reads gray, colour and transparent images, of 1, 3 or 4 channels, and these "
            f"have {channels}"
        )


def in_bytes(images: Tensor) -> Tensor:
    """Return images (N, 1, 3 or 4, H, W) in [-1, 1] as uint8 (N, 3, H, W); values beyond are clipped.

    Gray ones become RGB, transparent ones lie on white.
    """
    x = images.clamp(-1, 1)
    if x.shape[1] == 4:
        x = 1 + (x[:, :3] - 1) * (x[:, 3:] + 1) / 2
    return ((x + 1) * 127.5).round().to(torch.uint8).expand(-1, 3, -1, -1)


def resized(pixels: Tensor, side: int, mode: str) -> Tensor:
    """Return uint8 (N, 3, H, W) as float32 (N, 3, side, side) in 0 to 255; the whole image is seen.

    What makes them smaller is antialiased, as in PIL: without it a backbone sees what no eye does (Parmar et al.
    2022). ``mode`` is ``bilinear`` or ``bicubic``.
    """
    x = functional.interpolate(pixels.float(), (side, side), mode=mode, antialias=True).clamp(0, 255)
    return x.contiguous(memory_format=torch.channels_last)


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there).double().cpu() if there else None
