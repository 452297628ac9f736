"""A small convolutional classifier of clean images: the ruler for samples of a labelled set.

It is trained once per set, on the set's own training images, in a minute or two on two CPU cores, and kept in
the cache under the fingerprint of those images. Its class probabilities say whether a sample shows the label
that it was asked for; its penultimate features are where the Fréchet distance is taken (see
`unstir.evaluation.evaluate`).

The body halves the image until its shorter side is at most 8 pixels, with two 3x3 convolutions at each size,
and averages over the positions that are left, so images of any size and any number of channels are read.
Training runs in the format that the machine is fastest in, so two machines' classifiers differ a little; images
are read in float32 everywhere.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from unstir.cache import cache_folder
from unstir.data.order import order
from unstir.errors import InputError
from unstir.files import whole_file
from unstir.progress import tracked
from unstir.training.precision import autocast, resolve_precision

if TYPE_CHECKING:
    from unstir.data.dataset import ImageData, Splits

FEATURES = 64  # the width of the penultimate features: 1,000 samples give a well-conditioned covariance


class Classifier(nn.Module):
    """Reads images (B, C, H, W), float32 in [-1, 1], as one of K classes.

    Args:
        shape: (C, H, W) of the images.
        num_classes: K.
        accuracy: the fraction of held-out images read rightly, in [0, 1]; NaN before training.
    """

    def __init__(self, shape: tuple[int, int, int], num_classes: int, accuracy: float = math.nan) -> None:
        super().__init__()
        self.shape = shape
        self.num_classes = num_classes
        self.accuracy = accuracy
        side = min(shape[1:])
        halvings = max(2, math.ceil(math.log2(side / 8)))
        layers, channels = [], shape[0]
        for stage in range(halvings):
            stride = 1 if stage == 0 and side <= 16 else 2
            width = 64 if stage == 0 else 128
            layers += [_convolution(channels, width, stride), _convolution(width, width)]
            channels = width
        self.body = nn.Sequential(*layers, _convolution(channels, FEATURES))
        self.head = nn.Linear(FEATURES, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the penultimate features, (B, F) float32, at least 0, of images (B, C, H, W) in [-1, 1]."""
        return self.body(x.contiguous(memory_format=torch.channels_last)).float().mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, K) of images (B, C, H, W) in [-1, 1]."""
        return self.head(self.features(x))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    kernel = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(kernel, nn.BatchNorm2d(outputs), nn.ReLU())


def train_classifier(train: ImageData, held_out: ImageData, progress: bool = True, seed: int = 0) -> Classifier:
    """Train a classifier on ``train`` and set its ``accuracy`` on ``held_out``; returned in evaluation mode.

    The same seed, images, machine and number of threads give the same weights. The images are passed 4 times, and
    more often (up to 20 times) where that makes fewer than 100,000 images in all.

    Raises:
        InputError: the images have no labels, or all the same one.
    """
    if train.labels is None or held_out.labels is None:
        raise InputError(f"the classifier needs labels, and the images of '{train.name}' have none")
    if train.num_classes < 2:
        raise InputError(f"the classifier needs two classes or more; '{train.name}' has {train.num_classes}")
    device = _device()
    precision = resolve_precision("auto", device)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        classifier = Classifier(train.shape, train.num_classes)
    classifier.to(device, memory_format=torch.channels_last).train()

    seen = max(4 * len(train), min(20 * len(train), 100_000))
    batch = min(256 if seen >= 100_000 else 64, len(train))
    steps = math.ceil(seen / batch)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=4e-3, weight_decay=0.05, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, pct_start=0.2)
    shifts = np.random.default_rng(seed)
    for step in tracked(range(steps), steps, "training the classifier", progress):
        x, labels = train.batch(order(len(train), seed, step * batch, batch))
        x = _shifted(x, shifts).to(device)
        with autocast(precision, device):
            logits = classifier(x)
        loss = nn.functional.cross_entropy(logits.float(), labels.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rate.step()

    classifier.eval()
    _, probabilities = extract(classifier, held_out)
    classifier.accuracy = float((probabilities.argmax(axis=1) == held_out.labels).mean())
    return classifier


def _shifted(x: Tensor, random: np.random.Generator) -> Tensor:
    """Return each image (B, C, H, W) moved by whole pixels, up to a twelfth of a side, its edges repeated."""
    reaches = [round(side / 12) for side in x.shape[2:]]
    places = []
    for side, reach in zip(x.shape[2:], reaches):
        shift = torch.from_numpy(random.integers(-reach, reach, size=(len(x), 1), endpoint=True))
        places.append((torch.arange(side) + shift).clamp(0, side - 1))
    rows, columns = places
    image = torch.arange(len(x))[:, None, None]
    return x.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@torch.inference_mode()
def extract(
    classifier: Classifier, images: Tensor | ImageData, batch: int = 500, progress: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the penultimate features (N, F), float64, and class probabilities (N, K), float64, of N images.

    Args:
        classifier: in evaluation mode.
        images: (N, C, H, W), float32 in [-1, 1], or a set of images.
        batch: how many are read at once.
        progress: show a progress bar.

    Raises:
        InputError: the images are of another shape than those that the classifier was trained on.
    """
    shape = tuple(images.shape[1:]) if isinstance(images, Tensor) else images.shape
    if shape != classifier.shape:
        raise InputError(f"the images are {shape} (C, H, W), but the classifier reads {classifier.shape}")
    device = classifier.head.weight.device
    features, probabilities = [], []
    starts = range(0, len(images), batch)
    for start in tracked(starts, len(starts), "reading the images", progress):
        stop = min(start + batch, len(images))
        x = images[start:stop] if isinstance(images, Tensor) else images.batch(np.arange(start, stop))[0]
        read = classifier.features(x.to(device))
        features.append(read.double().cpu().numpy())
        probabilities.append(classifier.head(read).double().softmax(dim=1).cpu().numpy())
    return np.concatenate(features), np.concatenate(probabilities)


def classifier_for(splits: Splits, progress: bool = True) -> Classifier:
    """Return the classifier of a set from the cache, trained and kept there first if it is not.

    Raises:
        InputError: the set has no labels, or only one class.
    """
    path = cache_folder() / "classifiers" / f"{splits.train.fingerprint}-v1.safetensors"
    classifier = _load(path)
    if classifier is None or classifier.num_classes != splits.train.num_classes:
        classifier = train_classifier(splits.train, splits.held_out, progress)
        _save(classifier, path)
    return classifier


def _save(classifier: Classifier, path: Path) -> None:
    """Write the classifier to ``path``."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.state_dict().items()}
    facts = {
        "shape": json.dumps(classifier.shape),
        "num_classes": json.dumps(classifier.num_classes),
        "accuracy": json.dumps(classifier.accuracy),
    }
    with whole_file(path) as partial:
        save_file(weights, partial, facts)


def _load(path: Path) -> Classifier | None:
    """Return the classifier kept at ``path``, or None where there is none or its file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = {name: json.loads(text) for name, text in file.metadata().items()}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (FileNotFoundError, SafetensorError):
        return None
    classifier = Classifier(tuple(facts["shape"]), facts["num_classes"], facts["accuracy"])
    classifier.load_state_dict(weights)
    return classifier.to(_device(), memory_format=torch.channels_last).eval()


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
