"""How good digits are after so many minutes of training: ``python -m benchmarks.time_to_quality``.

Each contender trains on MNIST. At each mark of the training clock 1,000 digits are drawn from its average, and
their Fréchet distance to the test images is taken (`unstir.evaluation.evaluate.measure`). The clock counts the
steps, with the making of batches, and nothing else. unstir's learning rate falls to fit its budget, so each of its
points is a run of that length; the peers' rates are constant, so their points lie on one run. All draw with as
many DDIM steps; unstir, with its recipe's guidance, asks its network twice at each.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders import missing
from benchmarks.machine import describe, slug
from benchmarks.quality_peers import MNIST_PEERS
from unstir.data.config import DataConfig
from unstir.data.dataset import ImageData, Splits
from unstir.data.load import load
from unstir.errors import InputError
from unstir.evaluation.evaluate import measure
from unstir.recipes import recipe
from unstir.recipes.request import Request
from unstir.training.budget import Budget
from unstir.training.learner import Learner
from unstir.training.run import Run
from unstir.training.start import with_images

RESULTS = Path(__file__).parent / "results"
MARKS = (30.0, 60.0, 120.0, 300.0)
Drawn = tuple[torch.Tensor, torch.Tensor | None]


def main() -> None:
    """Train, draw, measure, print, save, plot."""
    args = _parse()
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        splits = load(DataConfig(source=args.data))
    except InputError as error:
        sys.exit(f"time_to_quality is skipped: {error}")
    report: dict[str, Any] = {"machine": describe(), "samples": args.samples, "steps": args.steps, "points": []}
    for name in args.contenders:
        reason = missing(name)
        if reason:
            print(reason)
            continue
        for point in _points(name, splits, args):
            report["points"].append(point)
            print(
                "{contender:>14}  {seconds:6.0f} s  {images:>9,} images  FCD {fcd:8.2f}".format(**point),
                flush=True,
            )
    if report["points"]:
        _keep(report, args.out)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.time_to_quality", description=__doc__)
    parser.add_argument("--data", default="mnist", help="MNIST: its name, or a folder that holds it (mnist)")
    parser.add_argument("--seconds", type=float, nargs="+", default=MARKS, help="marks of the training clock")
    parser.add_argument("--samples", type=int, default=1000, help="digits drawn at each mark (1000)")
    parser.add_argument("--steps", type=int, default=30, help="DDIM steps, for all (30)")
    parser.add_argument(
        "--contenders", nargs="+", default=["unstir", *MNIST_PEERS], choices=["unstir", *MNIST_PEERS]
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"the folder for the figures ({RESULTS})")
    return parser.parse_args()


def _points(name: str, splits: Splits, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a contender's points, measured."""
    if name == "unstir":
        stops = (_unstir(splits, seconds) for seconds in sorted(args.seconds))
    else:
        stops = _peer(name, splits.train, sorted(args.seconds))
    for seconds, images, sample in stops:
        samples, labels = sample(args.samples, args.steps)
        report = measure(samples, labels, splits, progress=False)
        yield {"contender": name, "seconds": seconds, "images": images, **report}


def _unstir(splits: Splits, seconds: float) -> tuple[float, int, Callable[[int, int], Drawn]]:
    """Train the recipe mnist for ``seconds``; return the clock, the images seen, and how to draw."""
    config = with_images(recipe("mnist")(Request(seconds=seconds)), splits.train)
    learner = Learner(config, splits)
    began = time.monotonic()
    budget = Budget(config.training, began)
    budget.reserve = 0.0  # nothing but steps is on this clock
    while (done := budget.progress(learner.position.images)) < 1:
        learner.step(budget.learning_rate(learner.position.step + 1, done))
    spent = time.monotonic() - began

    def sample(count: int, steps: int) -> Drawn:
        images = Run(config, learner.average).sample(count, batch=250, steps=steps)
        return images.tensor, images.labels

    return spent, learner.position.images, sample


def _peer(
    name: str, data: ImageData, marks: list[float]
) -> Iterator[tuple[float, int, Callable[[int, int], Drawn]]]:
    """Train a peer, stopping the clock at each mark."""
    torch.manual_seed(0)
    peer = MNIST_PEERS[name](data)
    spent = 0.0
    for mark in marks:
        while spent < mark:
            began = time.monotonic()
            peer.step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            spent += time.monotonic() - began
        yield spent, peer.images, peer.sample


def _keep(report: dict[str, Any], folder: Path) -> None:
    """Write the figures and their plot."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"time-to-quality-{slug(report['machine'])}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    _plot(report, path.with_suffix(".png"))
    print(f"Kept in {path}, and drawn in {path.with_suffix('.png')}")


def _plot(report: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    machine, points = report["machine"], report["points"]
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for name in dict.fromkeys(point["contender"] for point in points):
        own = [point for point in points if point["contender"] == name]
        axes.plot([point["seconds"] / 60 for point in own], [point["fcd"] for point in own], "o-", label=name)
    floor = points[0]["fcd_floor"]
    axes.axhline(floor, color="gray", linestyle=":", label=f"real digits ({floor:.2f})")
    axes.set(
        xscale="log", yscale="log", xlabel="minutes of training", ylabel=f"FCD of {report['samples']:,} digits"
    )
    axes.set_title(machine["gpu"] or f"{machine['processor']}, {machine['cores']} cores", fontsize=9)
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
