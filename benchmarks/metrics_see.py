"""What each metric sees: held-out images as they are, spoilt in one way each, measured against others of the set.

python -m benchmarks.metrics_see DATA [--backbone NAME] [-n 2000] [--reference 8000] [--training 25000]

DATA is a labelled set of photographs, such as CIFAR-10. What is measured is kept in --out, if it is given, way by
way, and the same command again goes on there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as ways

from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData, Splits
from unstir.data.load import load
from unstir.errors import InputError
from unstir.evaluation.measure import measure
from unstir.evaluation.metrics import OF_SAMPLES
from unstir.files import whole_file
from unstir.models.samples import Samples

METRICS = ("fd", "kd", "precision", "recall", "density", "coverage", "memorization")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics_see", description=__doc__)
    parser.add_argument("data", help="a named set, or where one is")
    parser.add_argument("--backbone", default="efficientnet-lite0", help="what reads the images")
    parser.add_argument("-n", type=int, default=2000, help="images in the samples' place")
    parser.add_argument("--reference", type=int, default=8000, help="held-out images they are measured against")
    parser.add_argument(
        "--training", type=int, default=25_000, help="training images among which copies are sought"
    )
    parser.add_argument("--out", type=Path, help="a file of what is measured, .json")
    args = parser.parse_args()
    asked = {name: value for name, value in vars(args).items() if name != "out"}
    found: dict[str, Any] = {"asked": asked, "figures": {}}
    if args.out is not None and args.out.exists():
        found = json.loads(args.out.read_text())
        if found["asked"] != asked:
            parser.error(f"--out {args.out} holds what other options measured")
    try:
        splits, samples = shares(load(DataConfig(source=args.data)), args.n, args.reference, args.training)
        for way, pixels in samples.items():
            if way in found["figures"]:
                continue
            drawn = [Samples(torch.tensor(pixels[i : i + 250]) / 127.5 - 1) for i in range(0, len(pixels), 250)]
            found["figures"][way] = measure(
                drawn, splits, METRICS, backbone=args.backbone, among=max(2000, args.n)
            )
            if args.out is not None:
                with whole_file(args.out) as partial:
                    partial.write_text(json.dumps(found, indent=1) + "\n")
    except InputError as error:
        parser.exit(1, f"metrics_see: {error}\n")
    print("\n".join(table(found["figures"])))


def shares(splits: Splits, n: int, reference: int, training: int) -> tuple[Splits, dict[str, np.ndarray]]:
    """Return real images to measure against, and samples by what was done to them, uint8 (n, C, H, W).

    No sample is among them, but those of a way that says so. The images of one class are of the training split, as
    are the training images, but others.

    Raises:
        InputError: If there are too few images.
    """
    train, held_out = splits.train, splits.held_out
    mixed, others = (np.random.default_rng(0).permutation(len(part)) for part in (train, held_out))
    if train.labels is None:
        raise InputError(f"'{train.name}' has no labels, and one way of spoiling leaves out classes")
    rest = mixed[training:]
    alone = rest[train.labels[rest] == 0][:n]
    if len(held_out) < n + reference or len(alone) < n or training < n:
        raise InputError(
            f"'{train.name}' has too few images for -n {n} beside the reference and the training images"
        )
    real = Splits(_some(train, mixed[:training]), _some(held_out, others[n : n + reference]))
    plain = held_out.pixels[others[:n]]
    copied = np.concatenate([plain[: n - n // 2], train.pixels[mixed[: n // 2]]])
    return real, {
        "as they are": plain,
        "half of them copies": copied,
        "one class only": train.pixels[alone],
        "blurred": _spoilt(plain, lambda x: ways.gaussian_blur(x, [5, 5], [1.0, 1.0])),
        "noised": _spoilt(
            plain, lambda x: x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        ),
        "grayed": _spoilt(plain, lambda x: ways.adjust_saturation(x, 0.25)),
        "saturated": _spoilt(plain, lambda x: ways.adjust_saturation(x, 2.0)),
    }


def table(figures: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines of a table: a row for each way, with intervals, and one for what real images score."""
    rows = [["", *METRICS], ["---"] * (1 + len(METRICS))]
    for way, found in figures.items():
        rows.append([way, *(_cell(found, metric) for metric in METRICS)])
    first = next(iter(figures.values()))
    beside = [first.get(f"{metric}_{OF_SAMPLES[metric].beside}") for metric in METRICS]
    rows.append(["real images", *("" if value is None else f"{value:.3g}" for value in beside)])
    return [f"| {' | '.join(row)} |" for row in rows]


def _cell(found: dict[str, Any], metric: str) -> str:
    if metric not in found:
        return str(found.get(f"{metric}_absent", ""))
    return f"{found[metric]:.3g} ({found[f'{metric}_low']:.3g} to {found[f'{metric}_high']:.3g})"


def _some(data: ImageData, rows: np.ndarray) -> ImageData:
    assert data.labels is not None
    return ImageData.from_array(data.pixels[rows], data.labels[rows], data.classes, data.name)


def _spoilt(pixels: np.ndarray, change: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Return images changed by what takes and gives float32 (n, C, H, W) in [0, 1]."""
    changed = change(torch.tensor(pixels) / 255)
    spoilt: np.ndarray = (changed.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return spoilt


if __name__ == "__main__":
    main()
