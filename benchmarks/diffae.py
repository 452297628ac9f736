"""What the codes of a trained diffusion autoencoder keep, say and can be moved to (Preechakul et al. 2022).

python -m benchmarks.diffae PLAN [--learned-on 10000] [-n 48] [--moved 100]

PLAN is the folder of a plan such as mnist-diffae, trained to its end on images with labels. What is printed, one
JSON object a line: errors there and back by steps, on the scale of [-1, 1]; linear accuracy of codes, pixels and
principal components on held-out images; and the share of images that a classifier of clean ones reads as the class
they were moved to.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import unstir
from unstir.data.dataset import ImageData, Splits
from unstir.data.load import load
from unstir.evaluation.ruler import ruler
from unstir.training.run_folder import RunFolder

STEPS = (5, 10, 20, 50, 100)
AMOUNTS = (0.0, 0.3, 0.5, 0.8, 1.2)
FEW = 10
"""Steps in which images that were moved are drawn."""


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diffae", description=__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--learned-on", type=int, default=10_000, help="images that classifiers learn on")
    parser.add_argument("-n", type=int, default=48, help="images that go there and back")
    parser.add_argument("--moved", type=int, default=100, help="images that are moved to another class")
    args = parser.parse_args()
    splits = load(RunFolder(args.plan / "autoencoder").read_config().data)
    linear: Any = unstir.load(args.plan / "directions")
    model = linear.parts["codec"]
    found = (
        there_and_back(model, splits, args.n),
        read_off(model, linear, splits, args.learned_on),
        moved(model, linear, splits, args.moved),
    )
    for figures in (one for part in found for one in part):
        print(json.dumps(figures), flush=True)


def there_and_back(model: Any, splits: Splits, count: int) -> Iterator[dict[str, object]]:
    """Yield the mean squared error of what both codes bring back, of z_sem alone, and of another image's."""
    x, _ = _some(splits.held_out, count)
    z = model.encode(x)
    for steps in STEPS:
        back = model.decode(z, noise=model.invert(x, codes=z, steps=steps), steps=steps)
        yield {"codes": "both", "steps": steps, "error": _error(back, x)}
    yield {"codes": "z_sem", "steps": 20, "error": _error(model.decode(z, range(count), steps=20), x)}
    others = z.roll(1, 0)
    yield {"codes": "another's", "steps": 20, "error": _error(model.decode(others, range(count), steps=20), x)}


def read_off(model: Any, linear: Any, splits: Splits, count: int) -> Iterator[dict[str, object]]:
    """Yield the accuracy on held-out images of linear classifiers, and of the plan's own."""
    (x, y), (other, truth) = (_some(data, count) for data in (splits.train, splits.held_out))
    pixels = [images.flatten(1).numpy() for images in (x, other)]
    components = PCA(linear.config.code[0], whiten=True, random_state=0).fit(pixels[0])
    for name, (known, asked) in {
        "z_sem": [model.encode(images).flatten(1).numpy() for images in (x, other)],
        "components": [components.transform(each) for each in pixels],
        "pixels": pixels,
    }.items():
        classifier = LogisticRegression(max_iter=200).fit(known, y)
        yield {"linear": name, "learned_on": len(x), "accuracy": classifier.score(asked, truth)}
    right = (linear.classify(other).argmax(1) == truth).double().mean()
    yield {"linear": "the plan's own", "accuracy": float(right)}


def moved(model: Any, linear: Any, splits: Splits, count: int) -> Iterator[dict[str, object]]:
    """Yield how often images moved towards another class at random are read as it."""
    clean = ruler(splits)
    x, y = _some(splits.held_out, count)
    classes = len(linear.config.labels)
    target = (y + torch.randint(1, classes, (count,), generator=torch.Generator().manual_seed(0))) % classes
    z = model.encode(x)
    noise = model.invert(x, codes=z, steps=FEW)
    ways = torch.stack([linear.towards(int(k), 1.0) for k in target])
    for by in AMOUNTS:
        for name, how in {"x_T": {"noise": noise}, "other": {"seeds": range(count)}}.items():
            drawn = model.decode(z + by * ways, steps=FEW, **how)
            read = (clean.classify(drawn).argmax(1) == target).double().mean()
            yield {"by": by, "noise": name, "read_as_target": float(read)}


def _some(data: ImageData, count: int) -> tuple[Tensor, Tensor]:
    images, told = data.examples(np.arange(min(count, len(data))))
    label = told["label"]
    assert isinstance(label, Tensor)
    return images, label


def _error(made: Tensor, truth: Tensor) -> float:
    return float((made - truth).square().mean())


if __name__ == "__main__":
    main()
