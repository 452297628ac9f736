"""Any classifier of torchvision as a backbone: its features are what its last linear layer takes.

Its images are resized whole to the side that its weights were trained at, and scaled as these ask; torchvision's
own evaluation crops the middle, but what a sample shows at its edge is part of it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from unstir.errors import InputError, nearest
from unstir.evaluation.backbones.backbone import NetworkBackbone, Seen, resized
from unstir.evaluation.backbones.names import TORCHVISION
from unstir.networks.weights import fill, hub_file, read_state

_AS_TRAINED = {name: {"init_weights": False, "transform_input": True} for name in ("googlenet", "inception_v3")}
"""What two of them must be told, that others are not, to be those that were trained."""


def vision(name: str, path: Path | None = None) -> NetworkBackbone:
    """Return the backbone of a classifier of torchvision with its best weights.

    Args:
        name: ``torchvision:`` and its name there, as ``torchvision:resnet50``.
        path: A file of its weights; None for torch's folder of downloads.

    Raises:
        InputError: If there is no such classifier, it ends in no linear layer, or its weights are not there.
    """
    from torchvision import models

    inside = name.removeprefix(TORCHVISION)
    known = models.list_models(module=models)
    if inside not in known:
        raise InputError(f"torchvision has no classifier called '{inside}'{nearest(inside, known)}")
    weights = models.get_model_weights(inside).DEFAULT
    place = hub_file(name, weights.url, weights.url.rpartition("/")[2], path)
    network = models.get_model(inside, weights=None, **_AS_TRAINED.get(inside, {}))
    fill(name, network, read_state(name, place), place)
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    if not linear or linear[-1].out_features != len(weights.meta["categories"]):
        raise InputError(f"torchvision's '{inside}' ends in no linear layer, so it has no features to compare by")
    last: list[Tensor] = []
    linear[-1].register_forward_pre_hook(lambda layer, given: last.append(given[0]))
    asked = weights.transforms()
    side = asked.crop_size[0]
    mean, deviation = (255 * torch.tensor(values)[:, None, None] for values in (asked.mean, asked.std))

    def see(pixels: Tensor) -> Seen:
        x = (resized(pixels, side, "bilinear") - mean.to(pixels.device)) / deviation.to(pixels.device)
        logits = network(x)
        return Seen(last.pop().flatten(1), logits.double().softmax(1))

    return NetworkBackbone(name, network, f"bilinear {side} {asked.mean} {asked.std}", see)
