r"""How far two images are apart in the features of a network that reads images (Zhang et al. 2018).

.. math:: d(x, y) = \frac1L \sum_l \frac{1}{H_l W_l} \sum_{h, w}
          \big\| w_l \odot (\hat f_l(x)_{hw} - \hat f_l(y)_{hw}) \big\|^2

with the features f of L layers, each scaled to length 1 over its channels. LPIPS has VGG16's, and its weights
:math:`w_l^2` were learned from what people say; those of other networks are 1 here. LPIPS's authors sum over the
layers: their figure is L times this one.

Pixels alone do not tell a blurred image from a sharp one that is shifted by a hair; these features do.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from unstir.networks import efficientnet
from unstir.networks.perceptual_config import EFFICIENTNET, LPIPS_URL, VGG_URL
from unstir.networks.weights import fill, hub_file, read_state

Distance = Callable[[Tensor, Tensor], Tensor]
"""From images (B, C, H, W) in [-1, 1] and others, through which no gradient flows, to their distances (B,)."""


_SLICES = ((0, 4), (4, 9), (9, 16), (16, 23), (23, 30))
_WIDTHS = (64, 128, 256, 512, 512)


def feature_distance(
    first: Iterable[Tensor], second: Iterable[Tensor], weights: Iterable[Tensor] | None = None
) -> Tensor:
    """Return the distance of images (B,), float32, from their features: 0 if equal, without weights at most 2.

    Args:
        first: Layers, each (B, C_l, H_l, W_l).
        second: The same of the other images.
        weights: Of each layer the squared w, (C_l, 1, 1); None for 1.
    """
    found = []
    every: Iterable[Tensor | None] = itertools.repeat(None) if weights is None else weights
    for x, y, weight in zip(first, second, every):
        error = (functional.normalize(x.float(), dim=1) - functional.normalize(y.float(), dim=1)).square()
        found.append((error if weight is None else weight * error).sum(1).mean((1, 2)))
    return torch.stack(found).mean(0)


def between(layers: Callable[[Tensor], Iterable[Tensor]], weights: Iterable[Tensor] | None = None) -> Distance:
    """Return the distance in the features that ``layers`` makes of images, in float32 whatever the context."""

    def distance(x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # on two CPU cores bfloat16 is the slower here
            with torch.no_grad():
                truth = [*layers(y.float())]
            return feature_distance(layers(x.float()), truth, weights)

    return distance


@functools.cache
def pretrained_distance(name: str, path: Path | None, device: torch.device) -> Distance:
    """Return the distance in the features of one of ImageNet's networks, which is read once and shared.

    Args:
        name: ``efficientnet-lite0`` or ``lpips``.
        path: Where its weights are; None for their usual place.
        device: Where it is to be.

    Raises:
        InputError: If its weights are not there.
    """
    network, weights = (EfficientNetFeatures(path), None) if name == EFFICIENTNET else lpips(path)
    network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return between(network, weights and [weight.to(device) for weight in weights])


class EfficientNetFeatures(nn.Module):
    """Four stages of EfficientNet-Lite0, at a half to a sixteenth of the images' resolution.

    Args:
        path: Where its weights are; None for its package.
    """

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self.network = efficientnet.pretrained(path)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the stages of images (B, 1, 3 or 4, H, W) in [-1, 1]."""
        pixels = (in_colour(x) + 1) * 127.5
        return self.network.stages((pixels - efficientnet.MEAN) / efficientnet.DEVIATION)


class VGGFeatures(nn.Module):
    """The five layers of VGG16 (Simonyan and Zisserman 2015) that LPIPS compares."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import vgg16

        self.features = vgg16(weights=None).features[: _SLICES[-1][1]]
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # or it changes what was returned
        self.mean = nn.Buffer(torch.tensor([-0.030, -0.088, -0.188])[:, None, None], persistent=False)
        self.deviation = nn.Buffer(torch.tensor([0.458, 0.448, 0.450])[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the layers of images (B, 1, 3 or 4, H, W) in [-1, 1]."""
        h, found = (in_colour(x) - self.mean) / self.deviation, []
        for start, stop in _SLICES:
            h = self.features[start:stop](h)
            found.append(h)
        return found


def lpips(folder: Path | None = None) -> tuple[VGGFeatures, list[Tensor]]:
    """Return VGG16 and LPIPS's weights of its layers, (C_l, 1, 1) each.

    Args:
        folder: Where both files are; None for torch's folder of downloads, into which they are brought.

    Raises:
        InputError: If they are not there and cannot be downloaded, or are others.
    """
    states, places = [], []
    for url in (VGG_URL, LPIPS_URL):
        file = url.rpartition("/")[2]
        places.append(hub_file("lpips", url, file, None if folder is None else folder / file))
        states.append(read_state("lpips", places[-1]))
    network = VGGFeatures()
    convolutions = {name: value for name, value in states[0].items() if name.startswith("features.")}
    fill("lpips", network, convolutions, places[0])
    heads = nn.ModuleDict({f"lin{i}": _Head(width) for i, width in enumerate(_WIDTHS)})
    fill("lpips", heads, states[1], places[1])
    return network, [head.weight for head in heads.values()]  # type: ignore[misc]


class _Head(nn.Module):
    """The weights of one layer, called as in LPIPS's file."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.ModuleDict({"1": nn.Conv2d(channels, 1, 1, bias=False)})

    @property
    def weight(self) -> Tensor:
        return self.model["1"].weight.detach()[0]  # type: ignore[operator]


def in_colour(x: Tensor) -> Tensor:
    """Return images (B, 1, 3 or 4, H, W) in [-1, 1] as (B, 3, H, W), differentiably.

    Gray ones become RGB, transparent ones lie on white. Values beyond stay: a gradient is to bring them back.
    """
    if x.shape[1] == 4:
        x = 1 + (x[:, :3] - 1) * (x[:, 3:].clamp(-1, 1) + 1) / 2
    return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
